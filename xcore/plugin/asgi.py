"""The few ASGI words the contract needs: types, reading a body, an answer and a problem (RFC 9457).

An `Answer` is fit for the wire. `render` makes one of a plugin's `Response` and refuses what would break the
channel: line breaks in headers, framing headers, bodies where HTTP has none.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, NamedTuple

import msgspec

from xcore.plugin.contract import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

GONE = "xcore.gone"
"""In a scope: what the server calls when the client is gone before the answer was whole."""

JSON = b"application/json"
# RFC 9110, 5.6.2 and 5.5. Latin-1 is what ASGI carries.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_OURS = frozenset(
    ("connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
_BODILESS = frozenset((204, 205, 304))


class ClientGone(Exception):
    """The caller left before the whole body was read."""


class Answer(NamedTuple):
    """Status, headers (without the length) and content, ready to be sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


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


def json_answer(body: bytes) -> Answer:
    return Answer(200, [(b"content-type", JSON)], body)


def text_answer(status: int, text: str) -> Answer:
    return Answer(status, [(b"content-type", b"text/plain; charset=utf-8")], text.encode())


def problem(status: int, reason: str, detail: str, **more: object) -> Answer:
    """Give an error as RFC 9457 `application/problem+json` in the platform's shape."""
    title, component = _PROBLEMS[reason]
    members = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body = msgspec.json.encode({**members, "component": component, "reason": reason, **more})
    return Answer(status, [(b"content-type", b"application/problem+json")], body)


def render(response: Response) -> Answer:
    """Check a plugin's own response; raises ValueError, saying what cannot be sent."""
    status = response.status
    if type(status) is not int or not 200 <= status <= 599:
        raise ValueError(f"status {status!r} is not a number from 200 to 599")
    body = _content(response.content)
    if status in _BODILESS and body:
        raise ValueError(f"status {status} has no content")
    headers = list(_headers(response))
    if status not in _BODILESS:
        headers.append(_field("content-type", response.media_type))
    return Answer(status, headers, body)


async def respond(send: Send, answer: Answer) -> None:
    headers = answer.headers
    if answer.status not in _BODILESS:
        headers = [*headers, (b"content-length", b"%d" % len(answer.content))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content})


async def refuse(send: Send, answer: Answer) -> None:
    """Answer a WebSocket's opening handshake with an HTTP answer (extension `websocket.http.response`)."""

    async def prefixed(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await respond(prefixed, answer)


def _content(content: object) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if content is None:
        return b""
    raise ValueError(f"content is {type(content).__name__}, neither bytes nor str")


def _headers(response: Response) -> Iterator[tuple[bytes, bytes]]:
    for name, value in response.headers.items():
        encoded = _field(name, value)
        if encoded[0] == b"content-type":
            raise ValueError("header 'content-type' is given as media_type")
        if encoded[0].decode() in _OURS:
            raise ValueError(f"header {name!r} belongs to the platform")
        yield encoded


def _field(name: object, value: object) -> tuple[bytes, bytes]:
    if not (isinstance(name, str) and _TOKEN.fullmatch(name)):
        raise ValueError(f"header name {name!r} is not a token")
    if not (isinstance(value, str) and _VALUE.fullmatch(value)):
        raise ValueError(f"header {name!r} holds what a header cannot: text without control characters")
    return name.lower().encode("ascii"), value.encode("latin-1")


_PROBLEMS = {
    "MalformedRequest": ("Malformed request", "client"),
    "InvalidArguments": ("Invalid arguments", "client"),
    "ActionNotFound": ("Action not found", "client"),
    "MethodNotAllowed": ("Method not allowed", "client"),
    "RateLimited": ("Too many requests", "client"),
    "ActionFailed": ("The plugin failed", "plugin"),
}
