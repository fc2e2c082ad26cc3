"""What the routes that make plugins say of themselves in `/openapi.json`: the bodies they read by hand, the resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from integrations.grants import Role
from integrations.newkey import NewKey
from xcore.manifest import json_schema
from xcore.schema import schema_of

MAX_REVISION = 2**53
_AT = "#/components/schemas/"


def _content(media: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in media.items()},
        }
    }


def _answer(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_MANIFEST = {"$ref": f"{_AT}PluginManifest"}
_FORM = {
    "type": "object",
    "properties": {
        "manifest": {
            "type": "string",
            "description": "The manifest, YAML or JSON; else plugin.yaml in the archive.",
        },
        "archive": {
            "type": "string",
            "format": "binary",
            "description": "The plugin's folder as tar.gz or zip.",
        },
    },
}
SENT = _content({"application/json": _MANIFEST, "application/yaml": _MANIFEST, "multipart/form-data": _FORM})
PATCH = _content({"application/merge-patch+json": {"type": "object"}})
ROLLBACK = _content(
    {
        "application/json": {
            "type": "object",
            "properties": {"revision": {"type": "integer", "minimum": 1, "maximum": MAX_REVISION}},
            "required": ["revision"],
            "additionalProperties": False,
        }
    }
)
PLUGIN = _answer("The plugin", {"$ref": f"{_AT}Plugin"})


_TIME = {"type": ["string", "null"], "format": "date-time"}
_NAMES = {"type": ["array", "null"], "items": {"type": "string"}}
_KEY = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "examples": ["0193a4b2c1de5f0c9a3b"]},
        "name": {"type": "string", "examples": ["shop frontend"]},
        "role": {"type": "string", "enum": [role.value for role in Role]},
        "prefix": {"type": "string", "description": "How the key begins.", "examples": ["xck_Zk3v9QpA"]},
        "plugins": {**_NAMES, "description": "Those it is for; null: all."},
        "actions": {**_NAMES, "description": "Those it may call; null: all."},
        "scopes": {"type": "array", "items": {"type": "string"}},
        "state": {"type": "string", "enum": ["Active", "Expired", "Revoked"]},
        "createdAt": {"type": "string", "format": "date-time"},
        "createdBy": {"type": "string", "description": "The id of the key that made it."},
        "expiresAt": _TIME,
        "revokedAt": _TIME,
        "revokedBy": {"type": "string"},
    },
    "required": [
        *("id", "name", "role", "prefix", "plugins", "actions", "scopes", "state"),
        *("createdAt", "createdBy", "expiresAt", "revokedAt", "revokedBy"),
    ],
}
_SECRET = {"type": "string", "description": "The key; told once.", "examples": ["xck_Zk3v9QpA…"]}
KEY = _answer("The key", {"$ref": f"{_AT}Key"})
MADE_KEY = _answer(
    "The key as it was made", {"allOf": [{"$ref": f"{_AT}Key"}], "properties": {"key": _SECRET}}
)
_STRINGS = ("at", "by", "role", "key", "address", "method", "route", "path", "plugin", "created", "reason")
_ENTRY = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "minimum": 1},
        **{name: {"type": "string"} for name in (*_STRINGS, "requestId", "previous", "hash", "cut")},
        "result": {"type": "string", "enum": ["Done", "Refused", "Failed"]},
        "status": {"type": "integer"},
        "seconds": {"type": "number"},
        "omitted": {"type": "integer", "description": "Refusals of nobody known that are not recorded."},
        "through": {"type": "integer", "description": "Entries up to this one were cut off."},
    },
    "required": [*_STRINGS, "number", "requestId", "previous", "hash", "result", "status", "seconds"],
}
AUDIT = _answer(
    "Entries, the newest first",
    {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"$ref": f"{_AT}AuditEntry"}},
            "metadata": {
                "type": "object",
                "properties": {
                    "continue": {"type": "integer", "description": "0: that was the last page."},
                    "head": {
                        "type": "object",
                        "properties": {"number": {"type": "integer"}, "hash": {"type": "string"}},
                    },
                },
            },
        },
    },
)
NEW_KEY = _content({"application/json": {"$ref": f"{_AT}NewKey"}})
_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "kind": {"type": "string"},
        "plugin": {"type": "string", "description": "Empty when it is about the controller itself."},
        "at": {"type": "string", "format": "date-time"},
    },
    "required": ["id", "kind", "plugin", "at"],
    "additionalProperties": True,
}
EVENTS: dict[str, Any] = {
    "description": "Events, the newest first",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "items": {"type": "array", "items": _EVENT},
                    "metadata": {
                        "type": "object",
                        "properties": {"continue": {"type": "string"}},
                        "required": ["continue"],
                    },
                },
                "required": ["items", "metadata"],
            },
            "example": {
                "items": [
                    {
                        "id": 42,
                        "kind": "InstanceExited",
                        "plugin": "hello",
                        "at": "2026-01-01T12:00:00.000Z",
                        "instance": "1f0c2a",
                        "reason": "OutOfMemory",
                        "exitCode": 137,
                        "message": "",
                    }
                ],
                "metadata": {"continue": "42"},
            },
        },
        "text/event-stream": {"schema": {"type": "string"}},
    },
}


_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "detail", "reason", "requestId")},
        "status": {"type": "integer"},
        "component": {"type": "string", "enum": ["client", "controller", "plugin", "runtime", "database"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                "required": ["field", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "component", "reason", "requestId"],
}
_PROBLEM_ANSWER = {
    "description": "A problem; its reason is in `Xcore-Reason`, too",
    "content": {"application/problem+json": {"schema": {"$ref": f"{_AT}Problem"}}},
}


def describe(app: FastAPI) -> None:
    """Add the schemas that the routes refer to."""
    before = app.openapi

    def openapi() -> dict[str, Any]:
        document = before()
        document.setdefault("components", {}).setdefault("schemas", {}).update(_schemas())
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop(
                    "422", None
                )  # FastAPI's own: ours are problems, whatever the status
                operation["responses"]["default"] = _PROBLEM_ANSWER
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _schemas() -> dict[str, Any]:
    manifest = _moved(json_schema())
    inner = {f"Plugin{name}": schema for name, schema in manifest.pop("$defs").items()}
    manifest.pop("$schema")
    stored = {"generation": {"type": "integer"}, "resourceVersion": {"type": "string"}}
    metadata = inner["PluginMetadata"]
    named = {**metadata, "properties": {**metadata["properties"], **stored}}
    told = {**manifest["properties"], "metadata": named, "status": {"type": "object"}}
    resource = {**manifest, "properties": told}
    new_key = schema_of(NewKey)
    return {
        **{f"Plugin{name}": _moved(schema) for name, schema in new_key.get("$defs", {}).items()},
        **inner,
        "PluginManifest": manifest,
        "Plugin": resource,
        "Key": _KEY,
        "AuditEntry": _ENTRY,
        "Problem": _PROBLEM,
        "NewKey": _moved({key: value for key, value in new_key.items() if key != "$defs"}),
    }


def _moved(node: Any) -> Any:
    """The schema with its inner ones under names of the whole document."""
    if isinstance(node, dict):
        return {key: _pointer(value) if key == "$ref" else _moved(value) for key, value in node.items()}
    return [_moved(each) for each in node] if isinstance(node, list) else node


def _pointer(reference: str) -> str:
    return f"{_AT}Plugin{reference.removeprefix('#/$defs/')}"
