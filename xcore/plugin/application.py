"""Any ASGI 3 application as a plugin: every request below its path, WebSockets included, and its lifespan.

The application sees the whole path with `root_path` in front, as the specification has it, and who really called.
What it raises is that request's answer: 500 before the answer has begun, a cut connection afterwards. A client
that leaves is told by `http.disconnect`; a request that has not ended LEAVING_SECONDS later is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import Any

import msgspec

from xcore.plugin.asgi import (
    GONE,
    Answer,
    ASGIApp,
    Message,
    Receive,
    Scope,
    Send,
    header,
    problem,
    refuse,
    respond,
)
from xcore.plugin.contained import Contained, PluginFailed
from xcore.plugin.contract import Context
from xcore.plugin.lifespan import Lifespan

LEAVING_SECONDS = 10.0
DOCUMENT_SECONDS = 4.0
MAX_DOCUMENT = 2**20
# RFC 9110, 5.6.2 and 5.5, as ASGI carries it.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_SECURE = {"http": "https", "ws": "wss"}
_log = logging.getLogger("xcore.plugin")


class Application:
    """See `Hosted`."""

    kind = "asgi"

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._root_path = f"/app/{context.name}"
        self._lifespan = Lifespan(app)
        self.description = msgspec.json.encode(
            {"name": context.name, "version": context.version, "kind": self.kind, "actions": []}
        )

    async def start(self) -> None:
        await self._lifespan.startup()

    async def stop(self) -> None:
        await self._lifespan.shutdown()

    async def healthy(self) -> bool:
        return True

    async def openapi(self) -> bytes | None:
        """Ask it for `/openapi.json` of its own; whatever else it does, it has none."""
        collected = _Collected()
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"{self._root_path}/openapi.json",
            "raw_path": f"{self._root_path}/openapi.json".encode(),
            "root_path": self._root_path,
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"accept", b"application/json")],
        }
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DOCUMENT_SECONDS):
                await self(scope, collected.receive, collected.send)
        return collected.content if collected.status == 200 and collected.whole else None

    def stuck(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing to close: threads are the application's own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = header(scope, b"x-request-id").decode("latin-1")
        _tell_who_called(scope)
        scope["state"] = self._lifespan.state.copy()
        scope[GONE] = _later_cancel(asyncio.current_task())
        answering = _Answering(send, scope["type"])
        try:
            with Contained():
                await self._app(scope, receive, answering.send)
        except PluginFailed as failed:
            if not answering.gone:
                _log.error(
                    "the application failed", exc_info=failed.__cause__, extra={"requestId": request_id}
                )
            detail = "the application raised an exception; its traceback is in the plugin's logs"
        else:
            if answering.complete or answering.gone:
                return
            _log.error("the application ended without a whole answer", extra={"requestId": request_id})
            detail = "the application ended without an answer"
        await answering.fail(problem(500, "ActionFailed", detail, requestId=request_id))


class _Answering:
    """Passes an application's messages on, and knows how far its answer has come."""

    def __init__(self, send: Send, kind: str) -> None:
        self._send, self._kind = send, kind
        self.begun = self.complete = self.gone = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            _check_head(message)
        try:
            await self._send(message)
        except OSError:
            self.gone = True
            raise
        if kind in {"http.response.start", "websocket.accept", "websocket.http.response.start"}:
            self.begun = True
        if kind == "websocket.close" or (
            kind.endswith("http.response.body") and not message.get("more_body", False)
        ):
            self.complete = True

    async def fail(self, answer: Answer) -> None:
        """Tell the client, if it can still be told; an answer that has begun is left as it is, which cuts it."""
        if self.complete or self.gone:
            return
        if self._kind == "http":
            if not self.begun:
                await respond(self._send, answer)
        elif self.begun:
            await self._send({"type": "websocket.close", "code": 1011, "reason": "the application failed"})
        else:
            await refuse(self._send, answer)


class _Collected:
    """Takes an answer in, up to MAX_DOCUMENT bytes of it."""

    def __init__(self) -> None:
        self.status, self.content, self.whole = 0, b"", False
        self._asked = False

    async def receive(self) -> Message:
        if self._asked:
            await asyncio.Event().wait()
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.content += message.get("body", b"")
        if len(self.content) > MAX_DOCUMENT:
            raise OSError("the document is too large")
        self.whole = not message.get("more_body", False)


def _later_cancel(task: asyncio.Task[Any] | None) -> Any:
    def gone() -> None:
        if task is not None:
            asyncio.get_running_loop().call_later(LEAVING_SECONDS, task.cancel)

    return gone


def _tell_who_called(scope: Scope) -> None:
    """Only the controller can connect, and says on whose behalf; its own end of the socket is of no interest.

    A server is named all the same: without one, Litestar makes links without a scheme, though it knows the Host.
    """
    client = header(scope, b"x-forwarded-for")
    scope["client"] = (client.decode("latin-1"), 0) if client else None
    scope["server"] = ("localhost", 80)
    if header(scope, b"x-forwarded-proto") == b"https":
        scope["scheme"] = _SECURE.get(scope["scheme"], scope["scheme"])


def _check_head(message: Message) -> None:
    """Raise before anything is written, so that the client can still be told of the failure."""
    status = message.get("status")
    if type(status) is not int or not 200 <= status <= 599:
        raise ValueError(f"status {status!r} is not a number from 200 to 599")
    for name, value in message.get("headers", ()):
        if not (isinstance(name, bytes) and _NAME.fullmatch(name)):
            raise ValueError(f"header name {name!r} is not a token, as bytes")
        if not (isinstance(value, bytes) and _VALUE.fullmatch(value)):
            raise ValueError(f"header {name!r} holds what a header cannot: bytes without control characters")
