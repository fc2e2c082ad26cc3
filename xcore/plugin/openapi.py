"""A plugin's actions as an OpenAPI 3.1 document. Made when it is first asked for: a cold start does not pay for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from xcore.plugin.contract import Context
from xcore.plugin.signature import Action

_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457), which hop failed, and why.",
    "required": ["type", "title", "status", "detail", "component", "reason"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "component": {"enum": ["client", "controller", "plugin", "runtime", "database"]},
        "reason": {"type": "string"},
        "requestId": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]")
_LOCAL = "#/$defs/"
_SHARED = "#/components/schemas/"


def document(context: Context, actions: Iterable[Action]) -> dict[str, Any]:
    """Describe them as they are called: below `/app/<plugin>`, with a key, their failures as problems."""
    schemas: dict[str, Any] = {}
    paths = {f"/{action.name}": _Path(action, schemas).operations() for action in actions}
    schemas["Problem"] = _PROBLEM
    return {
        "openapi": "3.1.0",
        "info": {"title": context.name, "version": context.version or "0"},
        "servers": [{"url": f"/app/{context.name}"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Problem": _answer("A problem", {"application/problem+json": _ref("Problem")})},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Path:
    """One action; what its schemas have in common with others' goes to `shared`."""

    def __init__(self, action: Action, shared: dict[str, Any]) -> None:
        self._action, self._shared = action, shared
        self._arguments = self._hoisted(action.description["arguments"], action.name)
        result = action.description.get("result")
        self._result = {} if result is None else self._hoisted(result, f"{action.name}.result")

    def operations(self) -> dict[str, Any]:
        return {method.lower(): self._operation(method) for method in self._action.description["methods"]}

    def _operation(self, method: str) -> dict[str, Any]:
        name, text = self._action.name, self._action.description["description"]
        operation: dict[str, Any] = {
            "operationId": name if method == "POST" else f"{method.lower()}-{name}",
            "summary": text.partition("\n")[0] or name,
            "description": text,
        }
        raw = self._action.arguments.raw is not None
        if method == "GET" or raw:
            operation["parameters"] = list(self._parameters())
        if method == "POST":
            content = {"application/octet-stream": {}} if raw else {"application/json": self._arguments}
            required = raw or bool(self._arguments.get("required"))
            operation["requestBody"] = {"required": required, "content": _media(content)}
        failure = {"$ref": "#/components/responses/Problem"}
        success = _answer(self._told(), self._content())
        return {
            **operation,
            "responses": {"200": success, "422": failure, "500": failure, "default": failure},
        }

    def _parameters(self) -> Iterator[dict[str, Any]]:
        required = self._arguments.get("required", ())
        for name, schema in self._arguments.get("properties", {}).items():
            yield {"name": name, "in": "query", "required": name in required, "schema": schema}

    def _told(self) -> str:
        if self._action.streaming is None:
            return "What the action returned"
        return (
            "What the action yielded: an item a line, or an event an item; `end` or `error` is the last event"
        )

    def _content(self) -> dict[str, Any]:
        streaming, results = self._action.streaming, self._action.results
        if streaming is not None:
            items = {"application/x-ndjson": self._result, "text/event-stream": {"type": "string"}}
            return {"application/octet-stream": {}} if streaming.raw else items
        content: dict[str, Any] = {"application/json": self._result} if results.gives_json else {}
        if results.gives_bytes:
            content["application/octet-stream"] = {}
        if results.gives_anything:
            content["*/*"] = {}
        return content

    def _hoisted(self, schema: dict[str, Any], prefix: str) -> dict[str, Any]:
        """Move what it defines to where a document keeps such things; two types of one name do not meet there."""
        defined = schema.get("$defs", {})
        names = {name: f"{prefix}.{_NO_NAME.sub('_', name)}" for name in defined}
        for name, body in defined.items():
            self._shared[names[name]] = _renamed(body, names)
        found: dict[str, Any] = _renamed({k: v for k, v in schema.items() if k != "$defs"}, names)
        return found


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(_LOCAL):
            name = reference.removeprefix(_LOCAL)
            return {**value, "$ref": _SHARED + names[name]}
        return {key: _renamed(item, names) for key, item in value.items()}
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _SHARED + name}


def _media(content: dict[str, Any]) -> dict[str, Any]:
    return {media: {"schema": schema} for media, schema in content.items()}


def _answer(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": _media(content)}
