"""What the routes say of themselves in `/openapi.json`: the bodies they read by hand, and their answers, each with an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from integrations.admin import links
from integrations.admin.examples import EXAMPLES
from integrations.admin.shapes import page, ref, said, shape, shapes

MAX_REVISION = 2**53
_JSON = "application/json"
_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}


def _content(media: Mapping[str, tuple[Mapping[str, Any], str]]) -> dict[str, Any]:
    """By kind of content: a schema, and the name of an example."""
    # By reference: FastAPI drops what is null in an example, and null is what is answered.
    return {
        kind: {"schema": schema, "examples": {name: {"$ref": f"#/components/examples/{name}"}}}
        for kind, (schema, name) in media.items()
    }


def _body(media: Mapping[str, tuple[Mapping[str, Any], str]]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": _content(media)}}


def _answer(
    description: str, schema: Mapping[str, Any], example: str, leads: links.Links | None = None
) -> dict[str, Any]:
    answer = {"description": description, "content": _content({_JSON: (schema, example)})}
    return {**answer, "links": leads} if leads else answer


def _problem(description: str, example: str) -> dict[str, Any]:
    problem = {"application/problem+json": (ref("Problem"), example)}
    return {"description": description, "content": _content(problem)}


_PARTS = shape(
    optional=["manifest", "archive"],
    manifest=said("The manifest, YAML or JSON; else plugin.yaml in the archive.", _TEXT),
    archive=said("The plugin's folder as tar.gz or zip.", {**_TEXT, "format": "binary"}),
)
SENT = _body(
    {
        _JSON: (ref("PluginManifest"), "Manifest"),
        "application/yaml": (ref("PluginManifest"), "Manifest"),
        "multipart/form-data": ({**_PARTS, "additionalProperties": False}, "Form"),
    }
)
PATCH = _body({"application/merge-patch+json": ({"type": "object"}, "Patch")})
_WHICH = shape(revision={"type": "integer", "minimum": 1, "maximum": MAX_REVISION})
ROLLBACK = _body({_JSON: ({**_WHICH, "additionalProperties": False}, "Rollback")})
NEW_KEY = _body({_JSON: (ref("NewKey"), "NewKey")})

PLUGIN = _answer("The plugin", ref("Plugin"), "Plugin", links.PLUGIN)
GONE = _answer("The plugin as it was last", ref("Plugin"), "Plugin")
PLUGINS = _answer("Plugins by name", page("Plugin"), "Plugins")
STATUS = _answer("The status", ref("PluginStatus"), "Status")
_KEPT = shape(items={"type": "array", "items": ref("Revision")})
REVISIONS = _answer("The kept revisions, the newest first", _KEPT, "Revisions")
LOGS: dict[str, Any] = {
    "description": "Lines, the oldest first",
    "content": _content({"text/plain": (_TEXT, "Log"), "application/x-ndjson": (_TEXT, "LogAsJson")}),
}
EVENTS: dict[str, Any] = {
    "description": "Events, the newest first; or as they happen",
    "content": _content({_JSON: (page("Event"), "Events"), "text/event-stream": (_TEXT, "EventStream")}),
}
AS_IT_WAS = {"description": "The page is as it was: what `If-None-Match` names"}
KEY = _answer("The key", ref("Key"), "Key")
REVOKED_KEY = _answer("The key as it is then", ref("Key"), "RevokedKey")
KEYS = _answer("Keys in the order they were made", page("Key"), "Keys")
_TOLD = {"allOf": [ref("Key")], "properties": {"key": said("The key; told once.", _TEXT)}}
MADE_KEY = _answer("The key as it was made", _TOLD, "MadeKey", links.KEY)
TASK = _answer("The task", ref("Task"), "Task", links.TASK)
TASKS = _answer("Tasks by name", page("Task"), "Tasks")
RUNS = _answer("Runs, the newest first", page("Run"), "Runs")
CALL = _answer("The call", ref("AnsweredCall"), "AnsweredCall")
SENT_AGAIN = _answer("The call, which is made again", ref("Call"), "QueuedCall", links.CALL)
CALLS = _answer("Calls, the newest first", page("Call"), "Calls")
_CHAIN = {
    "continue": said("Of the next page; 0: that was the last.", _NUMBER),
    "head": shape("The end of the chain.", number=_NUMBER, hash=_TEXT),
}
AUDIT = _answer("Entries, the newest first", page("AuditEntry", _CHAIN), "Audit")
_FOUND = shape(findings={"type": "array", "items": ref("Finding")})
FINDINGS = _answer("What was found", _FOUND, "Findings")
LATE = _problem("It is not so in time; what was ordered stays in force", "Late")
_PROBLEM = _problem("A problem; its reason is in `Xcore-Reason`, too", "Problem")


def describe(app: FastAPI) -> None:
    """Add the schemas and examples that the routes refer to."""
    before = app.openapi

    def openapi() -> dict[str, Any]:
        document = before()
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for theirs in ("HTTPValidationError", "ValidationError"):
            schemas.pop(theirs, None)
        schemas.update(shapes())
        components.setdefault("examples", {}).update(EXAMPLES)
        for operations in document["paths"].values():
            for operation in operations.values():
                # FastAPI's own: ours are problems, whatever the status.
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _PROBLEM
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
