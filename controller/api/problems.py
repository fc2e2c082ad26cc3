"""Reasons as HTTP: the one table that knows which status each has, and RFC 9457 bodies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from xcore.errors import Invalid, Problem, XcoreError


class Kind(NamedTuple):
    """How a reason travels: HTTP status, a short title, the component that failed."""

    status: int
    title: str
    component: str


REASONS: dict[str, Kind] = {
    "MalformedRequest": Kind(400, "Malformed request", "client"),
    "Unauthenticated": Kind(401, "Authentication needed", "client"),
    "Forbidden": Kind(403, "Not allowed", "client"),
    "NotAllowedTrusted": Kind(403, "Not allowed to be trusted", "client"),
    "NotFound": Kind(404, "Not found", "client"),
    "PluginNotFound": Kind(404, "Plugin not found", "client"),
    "ActionNotFound": Kind(404, "Action not found", "client"),
    "CallNotFound": Kind(404, "Call not found", "client"),
    "TaskNotFound": Kind(404, "Task not found", "client"),
    "KeyNotFound": Kind(404, "Key not found", "client"),
    "RevisionNotFound": Kind(404, "Revision not found", "client"),
    "MethodNotAllowed": Kind(405, "Method not allowed", "client"),
    "RequestTimeout": Kind(408, "Request too slow", "client"),
    "Conflict": Kind(409, "Conflict", "client"),
    "RouteConflict": Kind(409, "The name is taken", "client"),
    "PreconditionFailed": Kind(412, "Precondition failed", "client"),
    "BodyTooLarge": Kind(413, "Body too large", "client"),
    "URITooLong": Kind(414, "Request target too long", "client"),
    "UnsupportedMediaType": Kind(415, "Body of an unknown kind", "client"),
    "InvalidArguments": Kind(422, "Invalid arguments", "client"),
    "InvalidManifest": Kind(422, "Invalid manifest", "client"),
    "InvalidSpec": Kind(422, "Invalid manifest", "client"),
    "InvalidBundle": Kind(422, "Invalid bundle", "client"),
    "DependenciesUnresolved": Kind(422, "Dependencies cannot be resolved", "client"),
    "NotSupported": Kind(422, "Not supported", "client"),
    "Misdirected": Kind(421, "Called at another controller", "client"),
    "UpgradeRequired": Kind(426, "Another WebSocket version is needed", "client"),
    "RateLimited": Kind(429, "Too many requests", "client"),
    "HeadersTooLarge": Kind(431, "Header fields too large", "client"),
    "ActionFailed": Kind(500, "The plugin failed", "plugin"),
    "Internal": Kind(500, "Internal error", "controller"),
    "UpstreamUnreachable": Kind(502, "Plugin unreachable", "plugin"),
    "UpstreamInvalid": Kind(502, "Invalid answer", "plugin"),
    "UpstreamIdentity": Kind(502, "Plugin not identified", "plugin"),
    "CallLoop": Kind(508, "Plugins call each other without end", "plugin"),
    "PluginNotReady": Kind(503, "Plugin not ready", "plugin"),
    "QueueFull": Kind(503, "Too many requests under way", "plugin"),
    "Draining": Kind(503, "Shutting down", "controller"),
    "RuntimeUnavailable": Kind(503, "Runtime unavailable", "runtime"),
    "DatabaseUnavailable": Kind(503, "Database unavailable", "database"),
    "IndexUnavailable": Kind(503, "Package index unavailable", "controller"),
    "WorkloadRejected": Kind(503, "Workload rejected", "runtime"),
    "ImagePull": Kind(503, "Image missing", "runtime"),
    "FirstByteTimeout": Kind(504, "No answer in time", "plugin"),
    "IdleTimeout": Kind(504, "Silence", "plugin"),
    "DurationExceeded": Kind(504, "Took too long", "plugin"),
    "WaitTimeout": Kind(504, "Not there in time", "plugin"),
    "StorageFull": Kind(507, "No room", "controller"),
}


def problem_body(
    reason: str, detail: str, *, request_id: str, errors: Sequence[Problem] = ()
) -> tuple[int, bytes]:
    """Give (status, body) of `application/problem+json`."""
    kind = REASONS[reason]
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "component": kind.component,
        "reason": reason,
        "requestId": request_id,
    }
    if errors:
        body["errors"] = [{"field": error.field, "message": error.message} for error in errors]
    return kind.status, json.dumps(body, ensure_ascii=False).encode()


def problem_of(error: XcoreError, *, request_id: str) -> tuple[int, bytes]:
    errors = error.problems if isinstance(error, Invalid) else ()
    return problem_body(error.reason, error.detail, request_id=request_id, errors=errors)
