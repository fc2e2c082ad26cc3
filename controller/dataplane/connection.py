"""One connection to a plugin, one request at a time: HTTP/1.1 answers read strictly, handed on as they come.

Doubtful framing, more than was asked for, or heads without bound make the answer invalid and end the connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

import httptools

from controller.dataplane import cookies, headers as rules, locations

if TYPE_CHECKING:
    from controller.dataplane.exchange import Exchange
    from controller.dataplane.request import Request
    from controller.dataplane.upstream import Pool
    from controller.dataplane.websocket import WebSocketExchange

MAX_HEAD = 64 * 1024
MAX_FIELDS = 100
MAX_INTERIM = 8
_log = logging.getLogger("xcore.dataplane")


class BadAnswer(Exception):
    """The plugin's answer is not one we can pass on."""


class Connection(asyncio.Protocol):
    """Carries the bytes of an `exchange` to a plugin and tells it what comes back."""

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self._agreement: tuple[list[bytes], dict[bytes, bytes]] | None = (
            None  # of a 101, after which it is no HTTP
        )
        self._parser = httptools.HttpResponseParser(self)
        self._fresh()

    def _fresh(self) -> None:
        """Be ready for an answer."""
        self._headers: rules.Headers = []
        self._quiet_bytes = self._interim = 0
        self._in_body = self._until_close = self._complete = self._keep = False

    def cancel(self) -> None:
        """The exchange wants no more: the plugin sees its client go."""
        self._pool.give_back(self, reusable=False)

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport by construction

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_full()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_writable()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self._pool.forget(self)  # nobody asked: never to be used again
            self.transport.abort()
            return
        self._quiet_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._agreement is not None:  # only such an exchange has a handshake to agree to
                cast("WebSocketExchange", exchange).upgraded(*self._agreement, data[upgrade.args[0] :])
            else:
                self._unreadable(exchange, upgrade)
            return
        except httptools.HttpParserError as error:
            self._unreadable(exchange, error)
            return
        if self._complete:
            self._finish(exchange)
        elif self._quiet_bytes > MAX_HEAD:
            # The parser gathers an endless field, or swallows an endless chunk extension, without telling.
            exchange.upstream_invalid()
        else:
            exchange.flush()

    def _unreadable(self, exchange: Exchange, error: Exception) -> None:
        cause = error.__context__
        if cause is not None and not isinstance(cause, BadAnswer):
            _log.error("an error of ours while an answer was read", exc_info=cause)
        if self._complete and exchange.request.method == b"HEAD":
            self._keep = False  # a body after HEAD is a common mistake, and cut off it harms nobody
            self._finish(exchange)
        else:
            exchange.upstream_invalid()

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self.exchange
        if exchange is None:
            self._pool.forget(self)
            return
        self._pool.busy -= 1
        self.exchange = None
        if self._in_body and self._until_close and exc is None:
            exchange.answered()
        else:
            exchange.upstream_lost()

    # -- httptools ----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise BadAnswer("an answer nobody asked for")
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = (
            self._headers
        )  # after the head nobody reads it: trailers are dropped (RFC 9110 section 6.5.1)
        headers.append((name.lower(), value))
        if len(headers) > MAX_FIELDS:
            raise BadAnswer("a head without bound")

    def on_headers_complete(self) -> None:
        if self._quiet_bytes > MAX_HEAD and rules.size(self._headers) > MAX_HEAD:
            raise BadAnswer("a head without bound")
        status = self._parser.get_status_code()
        exchange = self.exchange
        if status < 100 or status > 599 or exchange is None:
            raise BadAnswer("a status there is not")
        request = exchange.request
        if status < 200:
            self._interim_answer(status, request)
            return
        lines, special = self._to_client(request)
        length = _length(special.get(b"content-length"))
        coding = special.get(b"transfer-encoding")
        if coding is not None and (length is not None or coding.lower() != b"chunked"):
            raise BadAnswer("framing that can be read in two ways (RFC 9112 section 6.3)")
        head_only = request.method == b"HEAD"
        bodiless = head_only or status in {204, 304}
        self._until_close = not bodiless and length is None and coding is None
        self._in_body = True
        self._quiet_bytes = 0
        exchange.head_received(status, lines, length, bodiless=bodiless)
        if head_only:
            self._head_only()

    def _to_client(self, request: Request) -> tuple[list[bytes], dict[bytes, bytes]]:
        lines, special = rules.to_client(self._headers)
        if not rules.REWRITTEN.isdisjoint(special):
            lines += cookies.to_client(self._headers, request.plugin)
            lines += locations.to_client(self._headers, request.host, request.prefix)
        return lines, special

    def _interim_answer(self, status: int, request: Request) -> None:
        self._interim += 1
        upgraded = status == 101 and request.handshake is not None and self._parser.should_upgrade()
        if self._interim > MAX_INTERIM or (status == 101 and not upgraded):
            raise BadAnswer("an upgrade nobody asked for, or too many interim answers")
        if upgraded:
            self._agreement = self._to_client(request)

    def _head_only(self) -> None:
        """End here: the parser cannot be told that no body follows an answer to HEAD."""
        self._complete = True
        self._keep = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if self._complete:
            raise BadAnswer("a body after an answer that has none")
        self._quiet_bytes = 0
        if self.exchange is not None:
            self.exchange.answer.body(body)

    def on_message_complete(self) -> None:
        if self._in_body and not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()  # the parser forgets it after this callback

    def _finish(self, exchange: Exchange) -> None:
        request = exchange.request
        reusable = self._keep and request.sent
        if reusable and request.size:
            reusable = self.transport.get_write_buffer_size() == 0
        if request.method == b"HEAD":
            self._parser = httptools.HttpResponseParser(self)
        self._fresh()
        self._pool.give_back(self, reusable=reusable)
        exchange.answered()


def _length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise BadAnswer("a length that is not one number")
    return int(value)
