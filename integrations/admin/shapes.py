"""JSON Schemas of what the API tells of: the resources and the parts of them that stand in `components` of the document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from integrations.grants import Role
from integrations.newkey import NewKey
from integrations.tasks.call import CallState
from integrations.tasks.task import State
from xcore.crd import STATUS
from xcore.manifest import json_schema
from xcore.schema import schema_of

Shape = dict[str, Any]

AT = "#/components/schemas/"
_TEXT: Shape = {"type": "string"}
_FLAG: Shape = {"type": "boolean"}
_COUNT: Shape = {"type": "integer", "minimum": 0}
_TIME: Shape = {"type": "string", "format": "date-time"}
_PERHAPS: Shape = {"type": ["string", "null"], "format": "date-time"}
_NAMES: Shape = {"type": ["array", "null"], "items": _TEXT}


def ref(name: str) -> Shape:
    return {"$ref": f"{AT}{name}"}


def shape(description: str = "", *, optional: Iterable[str] = (), **properties: Shape) -> Shape:
    """An object that has all of these, but for those that are optional."""
    required = [name for name in properties if name not in set(optional)]
    described = {"description": description} if description else {}
    return {"type": "object", **described, "properties": properties, "required": required}


def page(name: str, metadata: Mapping[str, Shape] | None = None) -> Shape:
    """Some of a resource; in its metadata `continue`, of the page after."""
    told = {"continue": said("Of the next page; empty: that was the last.", _TEXT), **(metadata or {})}
    return shape(
        items={"type": "array", "items": ref(name)},
        metadata={"type": "object", "properties": told, "required": list(told)},
    )


def said(text: str, node: Shape) -> Shape:
    return {**node, "description": text}


def _one_of(values: Iterable[str]) -> Shape:
    return {"type": "string", "enum": list(values)}


_REVISION = shape(
    "A kept revision of a plugin.",
    revision={"type": "integer", "minimum": 1},
    wanted=said("Whether it is the one that is wanted.", _FLAG),
    version=_TEXT,
    digest=said("Of its code; or the image.", _TEXT),
    by=said("The id of the key that sent it.", _TEXT),
    at=_TIME,
    how=_one_of(["create", "update", "patch", "rollback", "suspend", "resume"]),
    note=_TEXT,
    manifest=ref("PluginManifest"),
)
_KEY = shape(
    "A key, without the key itself.",
    id=_TEXT,
    name=_TEXT,
    role=_one_of(role.value for role in Role),
    prefix=said("How the key begins.", _TEXT),
    plugins=said("Those it is for; null: all.", _NAMES),
    actions=said("Those it may call; null: all.", _NAMES),
    scopes={"type": "array", "items": _TEXT},
    state=_one_of(["Active", "Expired", "Revoked"]),
    createdAt=_TIME,
    createdBy=said("The id of the key that made it.", _TEXT),
    expiresAt=_PERHAPS,
    revokedAt=_PERHAPS,
    revokedBy=_TEXT,
)
_STRINGS = ("at", "by", "role", "key", "address", "method", "route", "path", "plugin", "created", "reason")
_ENTRY = shape(
    "What somebody wanted to change, and what came of it.",
    optional=("cut", "omitted", "through"),
    number={"type": "integer", "minimum": 1},
    **dict.fromkeys((*_STRINGS, "requestId", "previous", "hash", "cut"), _TEXT),
    result=_one_of(["Done", "Refused", "Failed"]),
    status={"type": "integer"},
    seconds={"type": "number"},
    omitted=said("Refusals of nobody known that are not recorded.", {"type": "integer"}),
    through=said("Entries up to this one were cut off.", {"type": "integer"}),
)
_EVENT = {
    **shape(
        "What happened; with fields of its kind.",
        id={"type": "integer", "minimum": 1},
        kind=_TEXT,
        plugin=said("Empty when it is about the controller itself.", _TEXT),
        at=_TIME,
    ),
    "additionalProperties": True,
}
_RUN = shape(
    "One run of a task.",
    run={"type": "integer", "minimum": 1},
    task=_TEXT,
    state=_one_of(State),
    due=_TIME,
    started=_TIME,
    ended=_PERHAPS,
    seconds={"type": ["number", "null"]},
    attempt=_COUNT,
    by=said("The id of the key that asked for it, or clock.", _TEXT),
    output=_TEXT,
    reason=_TEXT,
    detail=_TEXT,
)
_TASK = shape(
    "What is done by the clock.",
    id=_TEXT,
    title=_TEXT,
    plugin=said("Empty: it is built in.", _TEXT),
    action=_TEXT,
    times=_TEXT,
    timeoutSeconds={"type": "number"},
    retries=_COUNT,
    state=_one_of(["Running", "Suspended", "Waiting"]),
    nextTime=_PERHAPS,
    lastRun={"anyOf": [ref("Run"), {"type": "null"}]},
)
_CALL = shape(
    "A call that is answered later.",
    id=_TEXT,
    state=_one_of(CallState),
    plugin=_TEXT,
    action=_TEXT,
    caller=said("The id of the key it was made with.", _TEXT),
    idempotencyKey=_TEXT,
    created=_TIME,
    attempts=_COUNT,
    nextAttempt=_PERHAPS,
    ended=_PERHAPS,
    reason=_TEXT,
    detail=_TEXT,
)
_ANSWER = shape(
    "What the plugin answered.",
    status={"type": "integer"},
    mediaType=_TEXT,
    encoding=_one_of(["json", "text", "base64"]),
    body=said("As encoding says.", {}),
    cut=said("Whether there was more than is kept.", _FLAG),
)
_FINDING = shape(
    "One check, and what to do about it.",
    check=_TEXT,
    level=_one_of(["ok", "warn", "fail"]),
    message=_TEXT,
    advice=_TEXT,
)
_PROBLEM = shape(
    "What went wrong (RFC 9457).",
    optional=["errors"],
    **dict.fromkeys(("type", "title", "detail", "reason", "requestId"), _TEXT),
    status={"type": "integer"},
    component=_one_of(["client", "controller", "plugin", "runtime", "database"]),
    errors={"type": "array", "items": shape(field=_TEXT, message=_TEXT)},
)


def shapes() -> dict[str, Shape]:
    """All of them by name; the inner ones of the manifest are `Plugin…`."""
    manifest = _moved(json_schema())
    inner = {f"Plugin{name}": schema for name, schema in manifest.pop("$defs").items()}
    manifest.pop("$schema")
    stored = {"generation": {"type": "integer"}, "resourceVersion": _TEXT}
    metadata = inner["PluginMetadata"]
    named = {**metadata, "properties": {**metadata["properties"], **stored}}
    told = {**manifest["properties"], "metadata": named, "status": ref("PluginStatus")}
    new_key = schema_of(NewKey)
    return {
        **{f"Plugin{name}": _moved(schema) for name, schema in new_key.get("$defs", {}).items()},
        **inner,
        "PluginManifest": manifest,
        "Plugin": {**manifest, "properties": told},
        "PluginStatus": _todays(STATUS),
        "Revision": _REVISION,
        "Event": _EVENT,
        "NewKey": _or_null(_moved({key: value for key, value in new_key.items() if key != "$defs"})),
        "Key": _KEY,
        "Task": _TASK,
        "Run": _RUN,
        "Call": _CALL,
        "AnsweredCall": {
            **_CALL,
            "properties": {
                **_CALL["properties"],
                "result": {"anyOf": [_ANSWER, {"type": "null"}]},
            },
            "required": [*_CALL["required"], "result"],
        },
        "AuditEntry": _ENTRY,
        "Finding": _FINDING,
        "Problem": _PROBLEM,
    }


def _moved(node: Any) -> Any:
    """The schema with its inner ones under names of the whole document."""
    if isinstance(node, dict):
        return {key: _pointer(value) if key == "$ref" else _moved(value) for key, value in node.items()}
    return [_moved(each) for each in node] if isinstance(node, list) else node


def _pointer(reference: str) -> str:
    return f"{AT}Plugin{reference.removeprefix('#/$defs/')}"


def _todays(node: Any) -> Any:
    """A schema as Kubernetes has it (OpenAPI 3.0) in the words of 3.1."""
    if isinstance(node, list):
        return [_todays(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _todays(value)
        for key, value in node.items()
        if key != "nullable" and not key.startswith("x-kubernetes-")
    }
    return {**kept, "type": [kept["type"], "null"]} if node.get("nullable") is True else kept


def _or_null(schema: Shape) -> Shape:
    """What may be absent may be null as well: a key is told so."""
    may = {
        name: {**field, "type": [field["type"], "null"]}
        for name, field in schema["properties"].items()
        if name not in schema["required"] and "default" not in field
    }
    return {**schema, "properties": {**schema["properties"], **may}}
