"""Says what is wrong with a resource so that its author can mend it: field, line, what is allowed there, what was found.

Turns pydantic's errors into problems. What is allowed comes from the model's own JSON Schema, so the two never disagree.
Text that may be long or private (an env value, a config) is not repeated.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import ErrorDetails

from xcore.errors import Problem
from xcore.fields import SHAPES, TEXT
from xcore.yamlsafe import Lines, Path, dotted

MAX_PROBLEMS = 20
_LONGEST_SHOWN = 60

_SENTENCES = {
    "wrong": "{message}",
    "missing": "is required",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "string_type": "must be a string",
    "string_unicode": "must be text without halves of surrogate pairs",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "tuple_type": "must be a list",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "invalid_key": "must have strings as keys",
}
_NOT_SHOWN = frozenset({"extra_forbidden", "string_unicode", "string_too_long", "invalid_key"})


def complaints(error: ValidationError, *, schema: JsonSchemaValue, lines: Lines) -> Sequence[Problem]:
    """A problem for each error, in the order of the lines they are on; the first twenty, and how many more there are."""
    found = [_complaint(details, schema, lines) for details in error.errors(include_url=False)]
    problems = [problem for _, problem in sorted(found, key=lambda pair: pair[0])]
    if len(problems) > MAX_PROBLEMS:
        return [*problems[:MAX_PROBLEMS], Problem("", f"and {len(problems) - MAX_PROBLEMS} more")]
    return problems


def _complaint(details: ErrorDetails, schema: JsonSchemaValue, lines: Lines) -> tuple[int, Problem]:
    path: Path = tuple(step for step in details["loc"] if step != "[key]")
    path += details.get("ctx", {}).get("at", ())
    sentence = _sentence(details, path, schema) + _got(details)
    line = next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), 0)
    return line, Problem(dotted(path), f"line {line}: {sentence}" if line else sentence)


def _sentence(details: ErrorDetails, path: Path, schema: JsonSchemaValue) -> str:
    kind, context = details["type"], details.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return _unknown(str(path[-1]), sorted(_at(schema, path[:-1]).get("properties", {})))
        case "string_pattern_mismatch":
            return f"must be {SHAPES[context['pattern']]}"
        case "greater_than_equal" | "less_than_equal":
            allowed = _at(schema, path)
            return f"must be from {allowed['minimum']} to {allowed['maximum']}"
    return _SENTENCES.get(kind, "must be valid: {message}").format_map({"message": details["msg"], **context})


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name[:63], known, n=1)
    return (
        f"is not a field here; did you mean {close[0]}?"
        if close
        else f"is not a field here; there are {', '.join(known)}"
    )


def _got(details: ErrorDetails) -> str:
    kind, value = details["type"], details["input"]
    if kind in _NOT_SHOWN or details.get("ctx", {}).get("pattern") == TEXT:
        return ""
    if isinstance(value, str):
        cut = value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…"
        return f", got {json.dumps(cut, ensure_ascii=not cut.isprintable())}"
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return f", got {json.dumps(value)}" + (
            "; put it in quotes" if kind == "string_type" and value is not None else ""
        )
    return ""


def _at(schema: JsonSchemaValue, path: Path) -> JsonSchemaValue:
    """The schema of what is at `path`; of a mapping with free keys, that of its values."""
    node = schema
    for step in path:
        node = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return node
