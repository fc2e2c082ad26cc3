"""What the routes that make plugins say of themselves in `/openapi.json`: the bodies they read by hand, the resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from xcore.manifest import json_schema

MAX_REVISION = 2**53
_AT = "#/components/schemas/"


def _content(media: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in media.items()},
        }
    }


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
PLUGIN: dict[str, Any] = {
    "description": "The plugin",
    "content": {"application/json": {"schema": {"$ref": f"{_AT}Plugin"}}},
}


def describe(app: FastAPI) -> None:
    """Add the schemas that the routes refer to."""
    before = app.openapi

    def openapi() -> dict[str, Any]:
        document = before()
        document.setdefault("components", {}).setdefault("schemas", {}).update(_schemas())
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _schemas() -> dict[str, Any]:
    manifest = _moved(json_schema())
    inner = {f"Plugin{name}": schema for name, schema in manifest.pop("$defs").items()}
    manifest.pop("$schema")
    resource = {**manifest, "properties": {**manifest["properties"], "status": {"type": "object"}}}
    return {**inner, "PluginManifest": manifest, "Plugin": resource}


def _moved(node: Any) -> Any:
    """The schema with its inner ones under names of the whole document."""
    if isinstance(node, dict):
        return {key: _pointer(value) if key == "$ref" else _moved(value) for key, value in node.items()}
    return [_moved(each) for each in node] if isinstance(node, list) else node


def _pointer(reference: str) -> str:
    return f"{_AT}Plugin{reference.removeprefix('#/$defs/')}"
