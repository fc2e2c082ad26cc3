"""Where an answer leads: OpenAPI links from what was made or changed to what can be done with it."""

from __future__ import annotations

from typing import Any

Links = dict[str, Any]


def links(*targets: str, at: str, parameter: str, path: str) -> Links:
    """From a place in the answer (a JSON pointer) to operations: each a method, and what follows `path`."""
    return {
        _name(target): {
            "operationRef": _operation(target, path),
            "parameters": {parameter: f"$response.body#{at}"},
        }
        for target in targets
    }


def _name(target: str) -> str:
    """`post /restart` is `restart`, `get` is `get`."""
    method, _, rest = target.partition(" /")
    return rest or method


def _operation(target: str, path: str) -> str:
    method, _, rest = target.partition(" ")
    escaped = (path + rest).replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
    return f"#/paths/{escaped}/{method}"


PLUGIN = links(
    *("get", "patch", "delete", "get /status", "get /logs", "get /events", "get /revisions"),
    *("post /restart", "post /suspend", "post /resume"),
    at="/metadata/name",
    parameter="name",
    path="/api/v1/plugins/{name}",
)
KEY = links("get", "delete", at="/id", parameter="id", path="/api/v1/keys/{id}")
TASK = links("get", "get /runs", "post /run", at="/id", parameter="task_id", path="/api/v1/tasks/{task_id}")
CALL = links("get", at="/id", parameter="call_id", path="/api/v1/calls/{call_id}")
