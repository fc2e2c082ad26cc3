"""An action's JSON description as one line for people, and what is odd about it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def signature(action: Schema) -> str:
    """Say `add(a: integer, b: integer = 1) → integer`."""
    arguments = action["arguments"]
    required = arguments.get("required", ())
    parts = [
        f"{name}: {kind(schema)}" + ("" if name in required else f" = {json.dumps(schema.get('default'))}")
        for name, schema in arguments.get("properties", {}).items()
    ]
    parts += ["body: bytes"] if action["rawBody"] else []
    result = kind(action["result"]) if "result" in action else "any"
    many = "stream of " if action.get("stream") else ""
    return f"{action['name']}({', '.join(parts)}) → {many}{result}"


def kind(schema: Schema) -> str:
    """Name what a JSON Schema allows, roughly."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if schema.get("type") == "array" and isinstance(schema.get("items"), Mapping):
        return f"array of {kind(schema['items'])}"
    return str(schema.get("type", "any"))


def warnings_of(action: Schema) -> Iterator[str]:
    """What works, and could be better."""
    name = action["name"]
    if not action["description"]:
        yield f"action {name} has no docstring: nobody is told what it does"
    for parameter, schema in action["arguments"].get("properties", {}).items():
        if not set(schema) - {"default", "title", "description"}:
            yield f"action {name}: parameter {parameter} has no type: nothing is checked"
