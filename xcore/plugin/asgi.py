"""The few ASGI words the contract needs: types, reading a body, sending an answer or a problem (RFC 9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from xcore.plugin.contract import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class ClientGone(Exception):
    """The caller left before the whole body was read."""


async def read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def header(scope: Scope, name: bytes) -> bytes:
    """Return the first value of a header, or nothing; ASGI gives names in lower case."""
    return next((value for key, value in scope["headers"] if key == name), b"")


async def respond(send: Send, response: Response) -> None:
    body = response.content.encode() if isinstance(response.content, str) else response.content
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()
    ]
    headers.append((b"content-type", response.media_type.encode("latin-1")))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def problem(status: int, reason: str, detail: str, **more: object) -> Response:
    """Give an error as RFC 9457 `application/problem+json` in the platform's shape."""
    title, component = _PROBLEMS[reason]
    members = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body = msgspec.json.encode({**members, "component": component, "reason": reason, **more})
    return Response(body, "application/problem+json", status)


_PROBLEMS = {
    "MalformedRequest": ("Malformed request", "client"),
    "InvalidArguments": ("Invalid arguments", "client"),
    "ActionNotFound": ("Action not found", "client"),
    "MethodNotAllowed": ("Method not allowed", "client"),
    "ActionFailed": ("The plugin failed", "plugin"),
}
