"""The HTTP front: uvicorn's protocol class with a guard, and `/app/` answered before ASGI.

The guard holds for every request: one Host, unambiguous framing, bounded heads, trailers dropped. A request that
fails it is answered with a problem and the connection closed. Pipelining is not served: what comes behind an
unfinished request is not read, and the connection closed after the answer (RFC 9112 section 9.3.2 allows it).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from controller.api.problems import problem_body
from controller.dataplane import headers as rules
from controller.dataplane.ending import HEAD_SECONDS, EndingProtocol
from controller.dataplane.exchange import Exchange
from controller.dataplane.plane import DataPlane
from controller.dataplane.proxies import Sender
from controller.dataplane.request import Refusal, Request
from controller.dataplane.target import PREFIX, is_plain, parse_target
from controller.dataplane.websocket import WebSocketExchange

MAX_TARGET = 8 * 1024
MAX_HEAD = 32 * 1024
MAX_FIELDS = 100
_log = logging.getLogger("xcore.dataplane")


class _Stop(Exception):
    """Nothing more is read from this connection."""


def _headers_too_large() -> Refusal:
    detail = f"at most {MAX_FIELDS} header fields and {MAX_HEAD} bytes of them are read"
    return Refusal("HeadersTooLarge", detail)


class DataPlaneProtocol(EndingProtocol):
    """Made by uvicorn for each connection (`http=` setting), with the data plane bound first."""

    def __init__(
        self,
        plane: DataPlane,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(plane, config, server_state, app_state, _loop)
        self._exchange: Exchange | None = None
        self._quiet_bytes = 0  # since the parser last told something
        self._dated: object = None
        self._date_lines = b""
        self.sender = self._peer = Sender()
        self._passes_on = False  # whether a proxy is connected, so that each request says whom it is from

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.sender = self._peer = Sender(self.client[0] if self.client else "", self.scheme or "http")
        self._passes_on = self._is_proxy()

    def data_received(self, data: bytes) -> None:
        if self._ignoring:
            return
        self._quiet_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._not_upgraded(upgrade.args[0] < len(data))
        except httptools.HttpParserError as error:
            self._unreadable(error)
        if self._quiet_bytes > MAX_TARGET + MAX_HEAD and not self._ignoring:
            # The parser gathers one endless field, in the head or among trailers, without telling.
            self._refused(_headers_too_large())

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
        elif not self._busy():
            self.flow.resume_reading()

    # -- httptools ----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._ignoring:
            raise _Stop
        if self._busy():
            self._ignoring = self._in_message = True
            self._last_answer()
            raise _Stop
        self._head_begins()
        self.url, self.headers = b"", []

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MAX_TARGET:
            raise Refusal("URITooLong", f"the request target is over {MAX_TARGET} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self.headers
        headers.append((name.lower(), value))
        if len(headers) > MAX_FIELDS:
            raise _headers_too_large()

    def on_headers_complete(self) -> None:
        headers, parser = self.headers, self.parser
        self._in_head = False
        self.headers = []  # what comes now are trailers: never merged (RFC 9110 section 6.5.1)
        if self._quiet_bytes > MAX_HEAD and rules.size(headers) > MAX_HEAD:
            raise _headers_too_large()
        self._quiet_bytes = 0
        request = Request(parser.get_method(), self.url, parser.get_http_version(), headers)
        if self._passes_on:
            self.sender = self._plane.proxies.sender(self._peer, headers)
        if parser.should_upgrade() and (not request.complete or request.upgrade is None):
            raise Refusal("MalformedRequest", "an upgrade with a body, and CONNECT, are not served here")
        if request.deferred and request.target.startswith(PREFIX) and self._is_deferred(request):
            self._to_asgi(request, headers)
        elif request.target.startswith(PREFIX):
            self._begin_exchange(request)
        elif not is_plain(request.target):
            raise Refusal(
                "MalformedRequest", "the path has an encoded separator, a dot segment or an empty one"
            )
        else:
            self._to_asgi(request, headers)

    def on_body(self, body: bytes) -> None:
        self._quiet_bytes = 0
        if self._exchange is not None:
            self._exchange.feed(body)
        elif self._ignoring:
            raise _Stop
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        self._quiet_bytes = 0
        if self._exchange is not None:
            self._exchange.feed_end()
        elif self.cycle is not None:
            super().on_message_complete()

    # -- requests -----------------------------------------------------------------------------------------------

    def _busy(self) -> bool:
        return self._exchange is not None or (self.cycle is not None and not self.cycle.response_complete)

    def _is_proxy(self) -> bool:
        return self._plane.proxies.include(self._peer)

    def _begin_exchange(self, request: Request) -> None:
        target = parse_target(request.target)
        if target is None:
            raise Refusal("MalformedRequest", "the path is not one a plugin can have")
        request.plugin, request.action = target
        request.request_id = request.request_id or self._plane.new_request_id()
        request.keep_alive = self.parser.should_keep_alive() and not self._plane.draining
        self._exchange = self._exchange_of(request)
        self._exchange.begin()

    def _exchange_of(self, request: Request) -> Exchange:
        kind = Exchange if request.handshake is None else WebSocketExchange
        return kind(self._plane, self, request)

    def _is_deferred(self, request: Request) -> bool:
        """Whether it is taken in now and made later: not for whoever shows no key, for nobody else could ask for its answer."""
        known = request.key is not None or self._plane.gate is None
        return self._plane.defers and known and request.handshake is None

    def _to_asgi(self, request: Request, headers: rules.Headers) -> None:
        super().on_message_begin()
        self.url, self.scope["headers"] = request.target, headers
        if self._passes_on:
            self.scope["client"], self.scope["scheme"] = (self.sender.address, 0), self.sender.scheme
        self.expect_100_continue = request.expects
        super().on_headers_complete()

    def _not_upgraded(self, more: bool) -> None:
        """An offer to upgrade was ignored (RFC 9110 section 7.8); what follows it may be meant for the other protocol."""
        if more and not self._ignoring:
            self._ignoring = True
            self._last_answer()

    def _last_answer(self) -> None:
        """Let the connection end with the answer that is under way."""
        if self._exchange is not None:
            self._exchange.request.keep_alive = False
        elif self.cycle is not None:
            self.cycle.keep_alive = False

    # -- refusals -----------------------------------------------------------------------------------------------

    def _unreadable(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        if isinstance(cause, _Stop):
            return
        if isinstance(cause, Refusal):
            self._refused(cause)
        elif cause is None or isinstance(cause, httptools.HttpParserError):
            self._refused(Refusal("MalformedRequest", "the request is not valid HTTP/1.1"))
        else:
            _log.error("an error of ours while a request was read", exc_info=cause)
            self._refused(Refusal("Internal", "an error of the controller; it is in its log"))

    def _late(self) -> None:
        detail = f"the head of a request has {HEAD_SECONDS:g} s to arrive"
        self._refused(Refusal("RequestTimeout", detail))

    def _refused(self, refusal: Refusal) -> None:
        """Tell the client why, unless an answer to it has begun, and hang up."""
        self._ignoring = True
        if self._exchange is not None:
            self._last_answer()
            self._exchange.fail(refusal.reason, refusal.detail)
            return
        if self._busy():
            if self.cycle.response_started:
                self.cut()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        request_id = self._plane.new_request_id().decode()
        status, body = problem_body(refusal.reason, refusal.detail, request_id=request_id)
        self._plane.nowhere.counters.count(status, 0.0)
        head = (
            f"content-type: application/problem+json\r\nxcore-reason: {refusal.reason}\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n"
            "x-content-type-options: nosniff\r\n"
        )
        self.transport.write(b"".join((STATUS_LINE[status], head.encode(), self.date_lines(), b"\r\n", body)))
        self._hang_up()

    # -- what an exchange needs of its client -------------------------------------------------------------------

    @property
    def write_paused(self) -> bool:
        return self.flow.write_paused

    @property
    def is_ahead(self) -> bool:
        """Whether the client has sent more than its request."""
        return self._ignoring

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def date_lines(self) -> bytes:
        """Give the `Date` line (and what else uvicorn is set to send); it makes a new list every second."""
        fields = self.server_state.default_headers
        if fields is not self._dated:
            self._dated = fields
            self._date_lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        return self._date_lines

    def invite(self) -> None:
        """Ask the client, which waits for it, to send its body."""
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def pause_request(self) -> None:
        self.flow.pause_reading()

    def resume_request(self) -> None:
        self.flow.resume_reading()

    def exchange_done(self, *, keep_alive: bool) -> None:
        self._exchange = None
        self.server_state.total_requests += 1
        if not keep_alive or self._ignoring:
            self._hang_up()
        else:
            self._rest()

    def shutdown(self) -> None:
        """Let what is under way be answered, and that be the last."""
        if self._exchange is not None:
            self._last_answer()
        elif self._end is None:
            super().shutdown()
