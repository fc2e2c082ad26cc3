"""The HTTP front: uvicorn's protocol class with a guard, and `/app/` answered before ASGI.

The guard holds for every request: one Host, unambiguous framing, bounded heads, trailers dropped. A request that
fails it is answered with a problem and the connection closed. Pipelining is not served: what comes behind an
unfinished request to `/app/` is dropped and the connection closed after the answer (RFC 9112 section 9.3.2 allows it).
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from controller.api.problems import problem_body
from controller.dataplane.exchange import Exchange, RequestHead
from controller.dataplane.plane import DataPlane
from controller.dataplane.target import PREFIX, parse_target

MAX_TARGET = 8 * 1024
MAX_HEAD = 32 * 1024
MAX_FIELDS = 100
_HOST = re.compile(rb"[A-Za-z0-9.\-_~\[\]:%]{1,255}")


class Refusal(Exception):
    """The guard's verdict."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class DataPlaneProtocol(HttpToolsProtocol):
    """Made by uvicorn for each connection (`http=` setting), with the data plane bound first."""

    def __init__(
        self,
        plane: DataPlane,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._plane = plane
        self._exchange: Exchange | None = None
        self._refusal: Refusal | None = None
        self._in_head = True
        self._head_bytes = self._fields = 0
        self._silent_bytes = 0
        self._progress = False
        self._ignoring = False  # what arrives now belongs to no request we serve
        self.forwarded = b""

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        client = self.client[0].encode() if self.client else b"unknown"
        proto = (self.scheme or "http").encode()
        self.forwarded = b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\n" % (client, proto)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._ignoring:
            return
        self._progress = False
        try:
            self.parser.feed_data(data)
            self._bound_silence(len(data))
        except httptools.HttpParserUpgrade:
            if self._exchange is None and not self._ignoring:
                super()._unsupported_upgrade_warning()
        except (httptools.HttpParserError, Refusal):
            refusal = self._refusal or Refusal("MalformedRequest", "the request is not valid HTTP/1.1")
            self._answer_refusal(refusal)

    def _bound_silence(self, received: int) -> None:
        """Bound what the parser gathers without telling: one endless field, in the head or among trailers."""
        self._silent_bytes = 0 if self._progress else self._silent_bytes + received
        if self._silent_bytes > MAX_TARGET + MAX_HEAD:
            self._refuse("HeadersTooLarge", f"at most {MAX_HEAD} bytes of header fields are read")

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._exchange is not None:
            self._exchange.client_full()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._exchange is not None:
            self._exchange.client_writable()

    # -- httptools ----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = self._fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_TARGET:
            self._refuse("URITooLong", f"the request target is over {MAX_TARGET} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: never merged (RFC 9110 section 6.5.1)
        self._fields += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._fields > MAX_FIELDS or self._head_bytes > MAX_HEAD:
            self._refuse(
                "HeadersTooLarge", f"at most {MAX_FIELDS} header fields and {MAX_HEAD} bytes are read"
            )
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._progress = True
        self._guard()
        busy = self._exchange is not None
        if not self.url.startswith(PREFIX) and self.url != PREFIX[:-1]:
            if busy:
                self._ignoring = True
            else:
                super().on_headers_complete()
            return
        if busy or (self.cycle is not None and not self.cycle.response_complete):
            self._ignoring = True
            if self.cycle is not None:
                self.cycle.keep_alive = False
            return
        self._begin_exchange()

    def on_body(self, body: bytes) -> None:
        self._progress = True
        if self._exchange is not None and not self._ignoring:
            self._exchange.feed(body)
        elif self._exchange is None and self.cycle is not None and not self._ignoring:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress = True
        if self._exchange is not None and not self._ignoring:
            self._exchange.feed_end()
        elif self._exchange is None and self.cycle is not None and not self._ignoring:
            super().on_message_complete()

    # -- the guard ----------------------------------------------------------------------------------------------

    def _guard(self) -> None:
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._refuse("MalformedRequest", "only HTTP/1.1 and HTTP/1.0 are spoken here")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 and (version == "1.1" or hosts):
            self._refuse("MalformedRequest", "exactly one Host is needed (RFC 9112 section 3.2)")
        if hosts and not _HOST.fullmatch(hosts[0]):
            self._refuse("MalformedRequest", "the Host is not a host")
        coded = [value for name, value in self.headers if name == b"transfer-encoding"]
        if coded and (len(coded) > 1 or coded[0].lower() != b"chunked" or version == "1.0"):
            self._refuse("MalformedRequest", "only Transfer-Encoding: chunked is understood")

    def _refuse(self, reason: str, detail: str) -> None:
        self._refusal = Refusal(reason, detail)
        raise self._refusal

    def _answer_refusal(self, refusal: Refusal) -> None:
        """Tell the client why, unless it is still waiting for another answer, and hang up."""
        self._ignoring = True
        waiting = self._exchange is not None or (self.cycle is not None and not self.cycle.response_complete)
        if waiting:
            self.cut()
            return
        request_id = self._plane.new_request_id()
        status, body = problem_body(refusal.reason, refusal.detail, request_id=request_id.decode())
        head = (
            f"content-type: application/problem+json\r\nxcore-reason: {refusal.reason}\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id.decode()}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()

    # -- /app/ --------------------------------------------------------------------------------------------------

    def _begin_exchange(self) -> None:
        head = RequestHead(self.parser.get_method(), self.url, self.headers)
        target = parse_target(self.url)
        if target is None:
            self._refuse("MalformedRequest", "the path is not one a plugin can have")
            return
        if self.parser.should_upgrade():
            self._refuse("MalformedRequest", "upgrades are not served here")
        head.plugin, head.action = target
        head.http10 = self.parser.get_http_version() == "1.0"
        head.keep_alive = self.parser.should_keep_alive() and not self._plane.draining
        for name, value in self.headers:
            if name == b"content-length":
                head.content_length = int(value)
            elif name == b"transfer-encoding":
                head.chunked = True
        self._exchange = Exchange(self._plane, self, head)
        if self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._exchange.begin()

    # -- what an exchange needs of its client -------------------------------------------------------------------

    @property
    def write_paused(self) -> bool:
        return self.flow.write_paused

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def date_field(self) -> bytes:
        return b"".join([b"%b: %b\r\n" % field for field in self.server_state.default_headers])

    def pause_request(self) -> None:
        self.flow.pause_reading()

    def resume_request(self) -> None:
        self.flow.resume_reading()

    def cut(self) -> None:
        """End the connection so that the client can tell the answer is not whole."""
        self.transport.abort()

    def exchange_done(self, *, keep_alive: bool) -> None:
        self._exchange = None
        self.server_state.total_requests += 1
        if not keep_alive or self._ignoring:
            self._ignoring = True
            self.transport.close()
            return
        self.flow.resume_reading()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def shutdown(self) -> None:
        if self._exchange is None:
            super().shutdown()
        else:
            self._ignoring = self._ignoring or self._plane.draining
