"""Every field of a Plugin resource is described and bounded, in the JSON Schema as in the model."""

import copy
import json
import re

from xcore import fields
from xcore.manifest import json_schema


def nodes(schema):
    """Every schema within `schema`, with the name it is found under."""
    for parent in (schema, *schema["$defs"].values()):
        for name, node in parent.get("properties", {}).items():
            assert node.get("description"), f"{name} has no description"
            yield name, node
            yield from (
                (name, inner)
                for inner in (node.get("items"), *node.get("patternProperties", {}).values())
                if inner
            )


def test_the_json_schema_describes_and_bounds_every_field_and_never_says_null():
    schema = json_schema()
    assert "null" not in re.findall(r"\w+", json.dumps(schema))
    for name, node in nodes(schema):
        match node.get("type"):
            case "string":
                assert "maxLength" in node or "enum" in node or "const" in node, name
                assert node.get("pattern", fields.TEXT) in fields.SHAPES, name
            case "integer" | "number":
                assert {"minimum", "maximum"} <= set(node), name
            case "array":
                assert "maxItems" in node, name
            case "object":
                assert "maxProperties" in node or "x-kubernetes-preserve-unknown-fields" in node, name
            case kind:
                assert kind is None, name


def test_the_json_schema_is_a_copy_of_its_own():
    schema = json_schema()
    pristine = copy.deepcopy(schema)
    schema["$defs"].clear()
    assert json_schema() == pristine
