"""One of each resource, as `/openapi.json` shows it: what a controller said of the plugin in examples/hello."""

from __future__ import annotations

import json
from typing import Any

Example = dict[str, Any]

_DECLARED, _READY = "2026-11-29T16:16:06.596Z", "2026-11-29T16:16:06.967Z"


def _condition(kind: str, reason: str = "", *, status: str = "True", message: str = "") -> Example:
    later = kind in {"Active", "Progressing", "Ready"}
    return {
        "type": kind,
        "status": status,
        "reason": reason or kind,
        "message": message,
        "lastTransitionTime": _READY if later else _DECLARED,
        "observedGeneration": 2,
    }


SCHEDULES: list[Example] = [{"action": "greet", "cron": "0 7 * * 1-5", "timeZone": "Europe/Berlin"}]
MANIFEST: Example = {
    "apiVersion": "xcore.dev/v1alpha1",
    "kind": "Plugin",
    "metadata": {"name": "hello"},
    "spec": {
        "version": "1.0.0",
        "description": "Typed actions, the smallest useful plugin.",
        "source": {"bundle": "sha256:592c7870ff77ab66f730d27be9a574cad16e45c70fcf7ad8c44f6434026ef217"},
        "entrypoint": "main:Hello",
        "schedules": SCHEDULES,
    },
}
STATUS: Example = {
    "observedGeneration": 2,
    "replicas": 1,
    "readyReplicas": 1,
    "endpoint": "/app/hello",
    "runtime": "process",
    "image": "",
    "currentRevision": "50b68fd0a194",
    "updateRevision": "50b68fd0a194",
    "securityRating": 3,
    "actions": ["add", "greet"],
    "restarts": {
        "count": 0,
        "inWindow": 0,
        "lastReason": None,
        "lastExitCode": None,
        "lastTime": None,
        "nextTime": None,
    },
    "conditions": [
        _condition("Accepted"),
        _condition("ResolvedRefs"),
        _condition("ImageVerified", "NotRequired"),
        _condition("Programmed"),
        _condition(
            "NetworkIsolated",
            "NotEnforced",
            status="False",
            message="the process runtime isolates faults, not attackers; use it for development",
        ),
        _condition("Active", "Serving"),
        _condition("Progressing", "NewRevisionAvailable"),
        _condition("Ready"),
    ],
}
PLUGIN: Example = {
    **MANIFEST,
    "metadata": {"name": "hello", "generation": 2, "resourceVersion": "21c25731-2"},
    "status": STATUS,
}
REVISION: Example = {
    "revision": 2,
    "wanted": True,
    "version": "1.0.0",
    "digest": MANIFEST["spec"]["source"]["bundle"],
    "by": "admin",
    "at": "2026-11-29T16:16:06.998Z",
    "how": "patch",
    "note": "greets every morning",
    "manifest": MANIFEST,
}
LOG: Example = {"time": "2026-11-29T16:16:08.153Z", "text": "greeting world", "instance": "3f9a1c04b7de"}
EVENT: Example = {
    "id": 5,
    "kind": "PluginDeclared",
    "plugin": "hello",
    "at": "2026-11-29T16:16:07.009Z",
    "revision": "50b68fd0a1944b97009e37396d28e1a015e66383cb341613aa6bd8cf9ddc4867",
    "generation": 2,
}
NEW_KEY: Example = {
    "name": "shop frontend",
    "role": "caller",
    "plugins": ["hello"],
    "actions": ["greet"],
    "expiresAt": "2027-01-31T12:00:00Z",
}
KEY: Example = {
    "id": "01a22817a58c61e3b076",
    "name": "shop frontend",
    "role": "caller",
    "prefix": "xck_aIP5WDxn",
    "plugins": ["hello"],
    "actions": ["greet"],
    "scopes": [],
    "state": "Active",
    "createdAt": "2026-11-29T16:16:08.076Z",
    "createdBy": "admin",
    "expiresAt": "2027-01-31T12:00:00.000Z",
    "revokedAt": None,
    "revokedBy": "",
}
RUN: Example = {
    "run": 1,
    "task": "hello.greet",
    "state": "Succeeded",
    "due": "2026-11-29T16:16:08.121Z",
    "started": "2026-11-29T16:16:08.151Z",
    "ended": "2026-11-29T16:16:08.155Z",
    "seconds": 0.004,
    "attempt": 1,
    "by": "admin",
    "output": '"Hello world"',
    "reason": "",
    "detail": "",
}
TASK: Example = {
    "id": "hello.greet",
    "title": "Calls greet of hello.",
    "plugin": "hello",
    "action": "greet",
    "times": "0 7 * * 1-5 (Europe/Berlin)",
    "timeoutSeconds": 305.0,
    "retries": 0,
    "state": "Waiting",
    "nextTime": "2026-11-30T06:00:00.000Z",
    "lastRun": RUN,
}
CALL: Example = {
    "id": "c2ee04d14fe143ff7eb15da279058a37",
    "state": "Succeeded",
    "plugin": "hello",
    "action": "greet",
    "caller": "admin",
    "idempotencyKey": "c2ee04d14fe143ff7eb15da279058a37",
    "created": "2026-11-29T16:16:08.096Z",
    "attempts": 1,
    "nextAttempt": None,
    "ended": "2026-11-29T16:16:08.137Z",
    "reason": "",
    "detail": "",
}
RESULT: Example = {
    "status": 200,
    "mediaType": "application/json",
    "encoding": "json",
    "body": "Hello Ada",
    "cut": False,
}
ENTRY: Example = {
    "number": 4,
    "at": "2026-11-29T16:16:08.115Z",
    "by": "admin",
    "role": "admin",
    "key": "",
    "address": "127.0.0.1",
    "method": "POST",
    "route": "/api/v1/tasks/{task_id}/run",
    "path": "/api/v1/tasks/hello.greet/run",
    "plugin": "",
    "created": "/api/v1/tasks/hello.greet/runs",
    "status": 202,
    "result": "Done",
    "reason": "",
    "requestId": "bd4306b6bb735297",
    "seconds": 0.025,
    "previous": "4dff001daf0af325675d35c782fda524334a72f641b3ea8c4c1ea2ca68a41ca3",
    "hash": "95b7943c4081a911010ab2788f406ed33c09cb1d29fd51a3e29d4f03de61b639",
}
FINDING: Example = {
    "check": "definitions",
    "level": "ok",
    "message": "the API server knows Plugin and PluginClass",
    "advice": "",
}
LATE: Example = {
    "type": "about:blank",
    "title": "Not there in time",
    "status": 504,
    "detail": "hello did not become Ready, in 0.1 s at most: RollingOut",
    "component": "plugin",
    "reason": "WaitTimeout",
    "requestId": "3d6304ff03eb1c40",
}
PROBLEM: Example = {
    "type": "about:blank",
    "title": "Plugin not found",
    "status": 404,
    "detail": "there is no plugin 'hallo'",
    "component": "client",
    "reason": "PluginNotFound",
    "requestId": "27147ab75a32bece",
}


def _page(item: Example, following: str = "") -> Example:
    return {"items": [item], "metadata": {"continue": following}}


def _named(**values: Any) -> dict[str, Example]:
    return {name: {"value": value} for name, value in values.items()}


# By the names they have in `components` of the document. An archive is no text: the form here goes without one.
EXAMPLES: dict[str, Example] = _named(
    Manifest=MANIFEST,
    Form={"manifest": json.dumps(MANIFEST)},
    Patch={"spec": {"schedules": SCHEDULES}},
    Rollback={"revision": 1},
    NewKey=NEW_KEY,
    Plugin=PLUGIN,
    Plugins=_page(PLUGIN),
    Status=STATUS,
    Revisions={"items": [REVISION]},
    Log=f"{LOG['time']} {LOG['text']}\n",
    LogAsJson=json.dumps(LOG) + "\n",
    Events=_page(EVENT, str(EVENT["id"])),
    EventStream=f"id: {EVENT['id']}\nevent: {EVENT['kind']}\ndata: {json.dumps(EVENT)}\n\n",
    Key=KEY,
    Keys=_page(KEY),
    MadeKey={**KEY, "key": f"{KEY['prefix']}…"},
    RevokedKey={
        **KEY,
        "state": "Revoked",
        "revokedAt": "2026-11-30T09:02:11.340Z",
        "revokedBy": "admin",
    },
    Task=TASK,
    Tasks=_page(TASK),
    Runs=_page(RUN),
    Calls=_page(CALL),
    QueuedCall={**CALL, "state": "Queued", "attempts": 0, "ended": None},
    AnsweredCall={**CALL, "result": RESULT},
    Audit={
        "items": [ENTRY],
        "metadata": {
            "continue": ENTRY["number"],
            "head": {"number": ENTRY["number"], "hash": ENTRY["hash"]},
        },
    },
    Findings={"findings": [FINDING]},
    Late=LATE,
    Problem=PROBLEM,
)
