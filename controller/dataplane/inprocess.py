"""A trusted plugin behind the same exchange: an ASGI call in this process instead of a connection.

It is given the very bytes a sandbox would be given, so a plugin cannot tell the difference.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from xcore.plugin.asgi import ASGIApp, Message

if TYPE_CHECKING:
    from controller.dataplane.exchange import Exchange

_log = logging.getLogger("xcore.dataplane")


class InProcess:
    """The counterpart of a Pool: calls `app` for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.busy = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, exchange: Exchange) -> None:
        self.busy += 1
        call = Call(exchange)
        exchange.connected(call)
        call.task = asyncio.get_running_loop().create_task(self._run(call))
        self._tasks.add(call.task)
        call.task.add_done_callback(self._tasks.discard)

    async def _run(self, call: Call) -> None:
        try:
            await call.run(self._app)
        finally:
            self.busy -= 1

    def reap(self, now: float) -> None:
        """Nothing idles here."""

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


class Call:
    """One request as an ASGI call; an `Upstream` to its exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Exchange | None = exchange
        self.task: asyncio.Task[None] | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
            "server": None,
            "client": None,
            "headers": [],
        }
        self._body: deque[bytes] = deque()
        self._whole = False
        self._started = self._ended = False
        self._news = asyncio.Event()
        self._may_send = asyncio.Event()
        self._may_send.set()

    # -- Upstream -----------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def pause_reading(self) -> None:
        self._may_send.clear()

    def resume_reading(self) -> None:
        self._may_send.set()

    def cancel(self) -> None:
        self._exchange = None
        if self.task is not None:
            self.task.cancel()

    # -- httptools ----------------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        parsed = httptools.parse_url(url)
        self._scope["raw_path"] = parsed.path
        self._scope["path"] = unquote(parsed.path.decode("ascii"))
        self._scope["query_string"] = parsed.query or b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self._scope["headers"].append((name, value))

    def on_headers_complete(self) -> None:
        self._scope["method"] = self._parser.get_method().decode("ascii")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._news.set()

    def on_message_complete(self) -> None:
        self._whole = True
        self._news.set()

    # -- ASGI ---------------------------------------------------------------------------------------------------

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as error:
            # The application is somebody else's; what it raises is its own failure and this request's answer.
            _log.exception("a trusted plugin raised outside its actions", exc_info=error)
        if self._exchange is not None and not self._ended:
            exchange, self._exchange = self._exchange, None
            exchange.upstream_invalid()

    async def _receive(self) -> Message:
        while not self._body and not self._whole:
            self._news.clear()
            await self._news.wait()
        if self._body:
            body = self._body.popleft()
            return {"type": "http.request", "body": body, "more_body": bool(self._body) or not self._whole}
        if not self._started:
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()  # until the exchange ends and cancels this call
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._may_send.wait()
        exchange = self._exchange
        if exchange is None:
            return
        if message["type"] == "http.response.start":
            self._begin(exchange, message)
        elif message["type"] == "http.response.body" and self._started and not self._ended:
            self._continue(exchange, message)

    def _begin(self, exchange: Exchange, message: Message) -> None:
        self._started = True
        headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", [])]
        length = next((int(value) for name, value in headers if name == b"content-length"), None)
        status = message["status"]
        bodiless = exchange.method == b"HEAD" or status in {204, 304}
        exchange.head_received(status, headers, length, bodiless=bodiless)

    def _continue(self, exchange: Exchange, message: Message) -> None:
        body = message.get("body", b"")
        if body and exchange.method != b"HEAD":
            exchange.body_received(body)
        if message.get("more_body", False):
            exchange.flush()
            return
        self._ended = True
        self._exchange = None
        exchange.body_ended()
