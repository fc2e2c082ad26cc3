"""JSON Schemas of plugins, made anew: the keywords that are known here, where they are what they must be.

Left out besides: `$id`, `$schema`, anchors and dynamic references (they lead elsewhere), regular expressions (no two readers
agree on them), and a `default` that is not plainly what its schema allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TYPES = ("null", "boolean", "object", "array", "number", "string", "integer")
_PLAIN = {
    "null": (type(None),),
    "boolean": (bool,),
    "number": (int, float),
    "string": (str,),
    "integer": (int,),
}
# What a default is held against; with any other keyword beside it, it is not judged and left out.
_JUDGED = {"type", "anyOf", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_SAID = {"title", "description", "deprecated", "readOnly", "writeOnly", "example", "examples"}
_Take = Callable[[Any], Any]


class Odd(Exception):
    """A value is not what it must be at its place."""


def fields(value: Any, known: Mapping[Any, _Take], odd: Callable[[], object]) -> dict[Any, Any]:
    """Those members that are what they must be; `odd` is told of each other one that is known."""
    if not isinstance(value, dict):
        raise Odd
    found = {}
    for key, take in known.items():
        if key in value:
            try:
                found[key] = take(value[key])
            except Odd:
                odd()
    return found


def each(value: Any, take: _Take) -> dict[str, _Take]:
    """Take all members so. None is called `$ref`: who reads the document would see a reference in it."""
    if not isinstance(value, dict):
        raise Odd
    return {key: take for key in value if key != "$ref"}


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Odd
    return value


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Odd
    return value


def plain(value: Any) -> Any:
    """Any value, without references: who reads the document would follow them even here."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key != "$ref"}
    return [plain(one) for one in value] if isinstance(value, list) else value


def _number(value: Any) -> float:
    if type(value) not in {int, float}:
        raise Odd
    number: float = value
    return number


def _above_zero(value: Any) -> float:
    if _number(value) <= 0:
        raise Odd
    return _number(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise Odd
    return int(value)


def _values(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Odd
    return [plain(one) for one in value]


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Odd
    return list(dict.fromkeys(value))


def _type(value: Any) -> str | list[str]:
    if isinstance(value, str) and value in _TYPES:
        return value
    names = _names(value)
    if not names or not set(names) <= set(_TYPES):
        raise Odd
    return names


_SCALARS: dict[str, _Take] = {
    **dict.fromkeys(("title", "description", "format", "contentMediaType", "contentEncoding"), text),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), flag),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _number),
    **dict.fromkeys(
        ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"), _count
    ),
    **dict.fromkeys(("const", "example"), plain),
    **dict.fromkeys(("enum", "examples"), _values),
    "type": _type,
    "multipleOf": _above_zero,
    "required": _names,
}


class JsonSchema:
    """Takes schemas over. `reference` gives a reference its name in the whole or raises Odd; `odd` counts what is left out."""

    def __init__(self, reference: _Take, odd: Callable[[], object]) -> None:
        self._reference, self._odd = reference, odd
        inner = ("items", "not", "if", "then", "else", "contains", "propertyNames", "additionalProperties")
        self._known: dict[str, _Take] = {
            **_SCALARS,
            **dict.fromkeys(inner, self.take),
            **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), self._alternatives),
            "properties": self._properties,
            "discriminator": self._discriminator,
            "$ref": reference,
        }

    def take(self, value: Any) -> Any:
        if isinstance(value, bool):
            return value
        made = fields(value, self._known, self._odd)
        if "default" in value and _fits(made, value["default"]):
            made["default"] = value["default"]
        if "allOf" in made and "required" in made:
            # Validators want to see each of them beside it.
            made["required"] = [name for name in made["required"] if name in made.get("properties", ())]
        return made

    def _alternatives(self, value: Any) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise Odd
        return [self.take(one) for one in value]

    def _properties(self, value: Any) -> dict[str, Any]:
        return fields(value, each(value, self.take), self._odd)

    def _discriminator(self, value: Any) -> dict[str, Any]:
        name = fields(value, {"propertyName": text}, self._odd).get("propertyName")
        if name is None:
            raise Odd
        mapping = value.get("mapping", {})
        named = fields(mapping, each(mapping, self._reference), self._odd)
        return {"propertyName": name, **({"mapping": named} if named else {})}


def _fits(schema: Any, value: Any) -> bool:
    """Whether a default is plainly what its schema allows; False also where that is hard to tell."""
    if not isinstance(schema, dict) or schema.keys() - _JUDGED - _SAID or isinstance(value, dict | list):
        return False
    kinds = schema.get("type", list(_PLAIN))
    types = [_PLAIN.get(kind, ()) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    return (
        any(type(value) in kind for kind in types)
        and ("anyOf" not in schema or any(_fits(one, value) for one in schema["anyOf"]))
        and ("enum" not in schema or any(type(one) is type(value) and one == value for one in schema["enum"]))
        and (type(value) not in {int, float} or _within(schema, value))
    )


def _within(schema: Mapping[str, Any], value: float) -> bool:
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or schema["exclusiveMinimum"] < value)
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
    )


def cut_loops(schemas: Mapping[str, Any], prefix: str, odd: Callable[[], object]) -> None:
    """Take out references by which a schema would be a part of itself without a property between; in place.

    `prefix` and a name are a reference to that schema. Some of them mean nothing, and readers follow all of them for ever.
    """
    closed: set[str] = set()
    for start in schemas:
        path, stack = {start}, [] if start in closed else [(start, _referring(schemas[start]))]
        while stack:
            name, nodes = stack[-1]
            node = next(nodes, None)
            if node is None:
                stack.pop()
                path.discard(name)
                closed.add(name)
                continue
            target = node["$ref"].removeprefix(prefix)
            if target in path:
                del node["$ref"]
                odd()
            elif target not in closed:
                path.add(target)
                stack.append((target, _referring(schemas[target])))


def _referring(schema: Any) -> Iterator[dict[str, Any]]:
    """The schemas with a reference among those that judge the same value, or the items of it."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema
        several = (one for key in ("allOf", "anyOf", "oneOf") for one in schema.get(key, ()))
        for inner in (*several, schema.get("items"), schema.get("not")):
            yield from _referring(inner)
