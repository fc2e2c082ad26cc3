"""What a plugin says of itself in OpenAPI, made anew so that it fits into a document that is everybody's.

Nothing is copied: each field is known here by name and by what it must be, and what is not known or not so is left out.
So the whole stays valid whatever a plugin says, names of two plugins never meet, and nothing leads a browser elsewhere
with the key in hand: no servers, links, callbacks, foreign references, and no path that the data plane would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from controller.api.schemas import JsonSchema, Odd, cut_loops, each, fields, flag, plain, text
from controller.dataplane.target import PREFIX, parse_target

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_HOLE = re.compile(r"\{([A-Za-z0-9_.-]+)\}")
_STATUS = re.compile(r"default|[1-5](?:[0-9]{2}|XX)")
_ANY = re.compile(r".*", re.DOTALL)
_COMPONENT = re.compile(r"[A-Za-z0-9._-]+")
_SHARED = "#/components/"
_PLACES = ("query", "header", "path", "cookie")
_QUERY_STYLES = ("form", "spaceDelimited", "pipeDelimited", "deepObject")
_PLAIN_SCHEMA = ("type", "title", "description", "format")
_Take = Callable[[Any], Any]


class Part(NamedTuple):
    """Paths by method, components by kind, each under its name in the whole; how much could not be taken over."""

    paths: dict[str, dict[str, dict[str, Any]]]
    components: dict[str, dict[str, Any]]
    left_out: int


def part_of(plugin: str, document: Mapping[str, Any]) -> Part:
    """Make a plugin's part from its document, whatever that is. Takes long for a large one."""
    made = _Maker(plugin, document)
    return Part(dict(made.paths()), made.components(), made.left_out)


def safe_path(plugin: str, path: str) -> list[str] | None:
    """The names of a path template's parameters; None where the data plane would refuse what it leads to."""
    filled = f"{PREFIX.decode()}{plugin}{_HOLE.sub('x', path)}".encode()
    if not path.startswith("/") or b"?" in filled or parse_target(filled) is None:
        return None
    return _HOLE.findall(path)


class _Maker:
    def __init__(self, plugin: str, document: Mapping[str, Any]) -> None:
        self._plugin, self._document = plugin, document
        self._ids: set[str] = set()
        self.left_out = 0
        self._schemas = JsonSchema(lambda told: self._reference("schemas", told), self._odd)
        given = _members(document.get("components"))
        self._given = {kind: _members(given.get(kind)) for kind in (*self._kinds(), "parameters")}

    def _kinds(self) -> dict[str, _Take]:
        return {
            "schemas": self._schemas.take,
            "responses": self._response,
            "requestBodies": self._body,
            "headers": self._header,
            "examples": self._example,
        }

    def components(self) -> dict[str, dict[str, Any]]:
        made = {
            kind: {
                f"{self._plugin}.{name}": take(value)
                for name, value in self._given[kind].items()
                if self._is_kept(name, value) or self._odd()
            }
            for kind, take in self._kinds().items()
        }
        cut_loops(made["schemas"], f"{_SHARED}schemas/", self._odd)
        return made

    def paths(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for path, item in _members(self._document.get("paths")).items():
            names = safe_path(self._plugin, path)
            if names is None or not isinstance(item, dict):
                self._odd()
                continue
            operations = {method: item[method] for method in _METHODS if isinstance(item.get(method), dict)}
            taken = {
                method: {
                    **self._operation(method, path, operation),
                    "parameters": self._parameters(names, item, operation),
                }
                for method, operation in operations.items()
            }
            yield f"/app/{self._plugin}{path}", taken

    # -- of an operation ----------------------------------------------------------------------------------------

    def _operation(self, method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
        known = {
            "summary": text,
            "description": text,
            "deprecated": flag,
            "requestBody": self._or_reference("requestBodies", self._body),
            "responses": self._map(self._or_reference("responses", self._response), _STATUS),
        }
        taken = {"responses": {}, **self._fields(operation, known)}
        taken["responses"] = taken["responses"] or {"default": {"description": "unknown"}}
        own, fallback = operation.get("operationId"), f"{method} {path}"
        name = own if isinstance(own, str) and own not in self._ids else fallback
        if name not in self._ids:
            self._ids.add(name)
            taken["operationId"] = f"{self._plugin}.{name}"
        return {**taken, "tags": [self._plugin]}

    def _parameters(self, names: list[str], *holders: dict[str, Any]) -> list[dict[str, Any]]:
        """Those of path and operation as one list; each hole in the path has its parameter, and no other is one."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for holder in holders:
            told = holder.get("parameters", [])
            numbered = dict(enumerate(told if isinstance(told, list) else [None]))
            for one in self._fields(numbered, dict.fromkeys(numbered, self._parameter)).values():
                found[one["in"], one["name"]] = one
        for place, name in list(found):
            if place == "path" and name not in names:
                del found[place, name]
        for name in names:
            found.setdefault(
                ("path", name), {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            )
        return list(found.values())

    def _parameter(self, value: Any) -> dict[str, Any]:
        value = self._given["parameters"].get(_name(value, "parameters"), value)
        known = {
            "name": text,
            "in": _one_of(_PLACES),
            "description": text,
            "required": flag,
            "deprecated": flag,
        }
        made = {**self._fields(value, known), **self._content_or_schema(value)}
        if not {"name", "in"} <= made.keys():
            raise Odd
        if made["in"] == "path":
            # Without examples or defaults: `..` in them would be sent by one click, and lead out of the plugin.
            schema = made.pop("content", None) or made["schema"]
            shown = schema if isinstance(schema, dict) else {}
            made["schema"] = {key: shown[key] for key in _PLAIN_SCHEMA if key in shown}
            made["required"] = True
        elif made["in"] == "query" and "schema" in made:
            made |= self._fields(value, {"style": _one_of(_QUERY_STYLES), "explode": flag})
        return made

    def _body(self, value: Any) -> dict[str, Any]:
        known = {"description": text, "content": self._map(self._media), "required": flag}
        return {"content": {}, **self._fields(value, known)}

    def _response(self, value: Any) -> dict[str, Any]:
        headers = self._map(self._or_reference("headers", self._header))
        known = {"description": text, "headers": headers, "content": self._map(self._media)}
        return {"description": "", **self._fields(value, known)}

    def _header(self, value: Any) -> dict[str, Any]:
        known = {"description": text, "required": flag, "deprecated": flag}
        return {**self._fields(value, known), **self._content_or_schema(value)}

    def _content_or_schema(self, value: Any) -> dict[str, Any]:
        found = self._fields(value, {"schema": self._schemas.take, "content": self._map(self._media)})
        if "schema" not in found and len(found.get("content", ())) == 1:
            return {"content": found["content"]}
        return {"schema": found.get("schema", {})}

    def _media(self, value: Any) -> dict[str, Any]:
        examples = self._map(self._or_reference("examples", self._example))
        return self._fields(value, {"schema": self._schemas.take, "example": plain, "examples": examples})

    def _example(self, value: Any) -> dict[str, Any]:
        return self._fields(value, {"summary": text, "description": text, "value": plain})

    # -- fields, lists, maps, references ------------------------------------------------------------------------

    def _fields(self, value: Any, known: Mapping[Any, _Take]) -> dict[Any, Any]:
        return fields(value, known, self._odd)

    def _map(self, take: _Take, names: re.Pattern[str] = _ANY) -> _Take:
        def taken(value: Any) -> dict[str, Any]:
            known = each(value, take)
            fit = {key: one for key, one in known.items() if names.fullmatch(key) or self._odd()}
            return self._fields(value, fit)

        return taken

    def _or_reference(self, kind: str, take: _Take) -> _Take:
        def taken(value: Any) -> Any:
            told = value.get("$ref") if isinstance(value, dict) else None
            return take(value) if told is None else {"$ref": self._reference(kind, told)}

        return taken

    def _reference(self, kind: str, told: Any) -> str:
        name = _name({"$ref": told}, kind)
        if not self._is_kept(name, self._given[kind].get(name)):
            raise Odd
        return f"{_SHARED}{kind}/{self._plugin}.{name}"

    def _is_kept(self, name: str, value: Any) -> bool:
        return _COMPONENT.fullmatch(name) is not None and isinstance(value, dict)

    def _odd(self) -> bool:
        self.left_out += 1
        return False


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(value: Any, kind: str) -> str:
    """The name of the component that a reference leads to; empty where there is none of that kind."""
    told = value.get("$ref") if isinstance(value, dict) else None
    at = f"{_SHARED}{kind}/"
    return told.removeprefix(at) if isinstance(told, str) and told.startswith(at) else ""


def _one_of(allowed: tuple[str, ...]) -> _Take:
    def taken(value: Any) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise Odd

    return taken
