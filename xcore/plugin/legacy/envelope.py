"""The two forms in which an old plugin's actions are called and answer. Pure.

Today's: the body is the payload, the answer is what the action returned, a failure is a problem (RFC 9457).
The old one: `{"payload": {…}}` in, `{"status", "plugin", "action", "result"}` out. A failure is told in it as well,
`result` being `{"status": "error", "code", "msg"}`, and unlike in the old system the HTTP status says so, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from xcore.plugin.accept import preferred
from xcore.plugin.asgi import JSON, Answer

V0 = b"application/vnd.xcore.v0+json"


class BadPayload(Exception):
    """The body is not what an action is called with; `reason` as problems have it."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail


def asks_for_v0(accept: bytes) -> bool:
    """Only by its name: whoever takes anything gets today's form."""
    return preferred(accept, (JSON, V0)) == V0


def payload(body: bytes, *, v0: bool) -> dict[str, Any]:
    """What the action is given; nothing at all is an empty payload. Raises BadPayload."""
    try:
        given = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadPayload(400, "MalformedRequest", "the body is not JSON") from None
    if not isinstance(given, dict):
        raise BadPayload(422, "InvalidArguments", "the body must be a JSON object")
    inner = given.get("payload", {}) if v0 else given
    if not isinstance(inner, dict):
        raise BadPayload(422, "InvalidArguments", "payload must be a JSON object")
    return inner


def in_old_form(answer: Answer, *, plugin: str, action: str, media: bytes) -> Answer:
    """Put an answer of today's form into the old envelope; its other headers stay."""
    told = _told(answer.content)
    if answer.status >= 400:
        result = _failure(answer.status, told)
    else:
        result = told if isinstance(told, dict) else {"status": "ok", "result": told}
    status = result.get("status", "ok")
    envelope = {
        "status": status if isinstance(status, str) else "ok",
        "plugin": plugin,
        "action": action,
        "result": result,
    }
    headers = [(b"content-type", media), *_others(answer.headers)]
    return Answer(answer.status, headers, msgspec.json.encode(envelope))


def _told(content: bytes) -> Any:
    """Its JSON; text where it is none."""
    try:
        return msgspec.json.decode(content) if content else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return content.decode("utf-8", "replace")


def _failure(status: int, told: Any) -> dict[str, Any]:
    """A problem's reason and sentence, or FastAPI's `detail`, as the old system told failures."""
    members = told if isinstance(told, dict) else {"detail": told}
    code, detail = members.get("reason", str(status)), members.get("detail", told)
    message = detail if isinstance(detail, str) else msgspec.json.encode(detail).decode()
    return {"status": "error", "code": code, "msg": message}


def _others(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    return ((name, value) for name, value in headers if name not in {b"content-type", b"content-length"})
