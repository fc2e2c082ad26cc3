"""Connections to one sandbox: HTTP/1.1 over its unix socket, kept alive and reused only when beyond doubt.

Nothing a sandbox sends can reach another request: a connection goes back to its pool only after one whole, well
framed answer with nothing behind it, and pools are per instance.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httptools

from xcore.endpoint import UnixEndpoint
from xcore.errors import UpstreamError, UpstreamUnreachable

if TYPE_CHECKING:
    from controller.dataplane.exchange import Exchange
    from xcore.endpoint import Endpoint

MAX_IDLE = 64
IDLE_SECONDS = 30.0
MAX_HEAD = 64 * 1024
MAX_FIELDS = 100
MAX_INTERIM = 8


class Pool:
    """The connections of one instance. `busy` counts those carrying a request."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._idle: list[Connection] = []
        self.busy = 0
        self._dials: set[asyncio.Task[None]] = set()

    def send(self, exchange: Exchange) -> None:
        """Give the exchange a connection, now or soon: `exchange.connected(connection)` or `exchange.refused(error)`."""
        self.busy += 1
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                connection.exchange = exchange
                exchange.connected(connection)
                return
        task = asyncio.get_running_loop().create_task(self._dial(exchange))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, exchange: Exchange) -> None:
        try:
            connection = await self._connect()
        except UpstreamError as error:
            self.busy -= 1
            if not exchange.done:
                exchange.refused(error)
            return
        if exchange.done:
            self.give_back(connection, reusable=True)
            return
        connection.exchange = exchange
        exchange.connected(connection)

    async def _connect(self) -> Connection:
        assert isinstance(self._endpoint, UnixEndpoint)
        sock = self._endpoint.dial()
        try:
            _, connection = await asyncio.get_running_loop().create_unix_connection(
                lambda: Connection(self), sock=sock
            )
        except OSError as error:
            sock.close()
            raise UpstreamUnreachable(f"the sandbox hung up: {error.strerror}") from error
        return connection

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        self.busy -= 1
        connection.exchange = None
        if reusable and len(self._idle) < MAX_IDLE and not connection.transport.is_closing():
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.transport.abort()

    def forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def reap(self, now: float) -> None:
        """Close what has been idle for long; always before the other side does."""
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.pop(0).transport.abort()

    def close(self) -> None:
        for connection in self._idle:
            connection.transport.abort()
        self._idle.clear()


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._in_body = False
        self._until_close = False
        self._complete = False
        self._remaining: int | None = None
        self._interim = 0

    # -- the exchange's side ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_reading(self) -> None:
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.transport.resume_reading()

    def cancel(self) -> None:
        """The exchange wants no more: the sandbox sees its client go."""
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
        if not self._in_body:
            self._head_bytes += len(data)
            # Counted before parsing: the parser itself has no bound.
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.exchange is exchange:
                exchange.upstream_invalid()
            return
        if not self._in_body and self._head_bytes > MAX_HEAD and self.exchange is exchange:
            exchange.upstream_invalid()
        elif self._complete:
            self._finish(exchange)
        else:
            exchange.flush()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self.exchange
        if exchange is None:
            self._pool.forget(self)
            return
        self._pool.busy -= 1
        self.exchange = None
        if self._in_body and self._until_close and exc is None:
            exchange.body_ended()
            exchange.flush()
        else:
            exchange.upstream_lost()

    # -- httptools ----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("an answer nobody asked for")
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # trailers are dropped (RFC 9110 section 6.5.1)
        self._headers.append((name.lower(), value))
        if len(self._headers) > MAX_FIELDS:
            raise ValueError("too many header fields")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > MAX_INTERIM:
                raise ValueError("an upgrade nobody asked for, or too many interim answers")
            return
        exchange = self.exchange
        assert exchange is not None
        length = [value for name, value in self._headers if name == b"content-length"]
        coded = [value for name, value in self._headers if name == b"transfer-encoding"]
        if (length and coded) or (coded and coded[0].lower() != b"chunked"):
            raise ValueError("framing that can be read in two ways (RFC 9112 section 6.3)")
        self._in_body = True
        bodiless = exchange.method == b"HEAD" or status in {204, 304}
        self._until_close = not (length or coded or bodiless)
        exchange.head_received(status, self._headers, int(length[0]) if length else None, bodiless=bodiless)
        if bodiless and exchange.method == b"HEAD" and length:
            # The parser waits for a body that does not come.
            self._complete = True

    def on_body(self, body: bytes) -> None:
        if self.exchange is not None and not self._complete:
            self.exchange.body_received(body)

    def on_message_complete(self) -> None:
        if self._in_body:
            self._complete = True

    def _finish(self, exchange: Exchange) -> None:
        whole = exchange.method != b"HEAD" and not self._until_close and self._parser.should_keep_alive()
        reusable = whole and exchange.request_sent
        self._complete = self._in_body = False
        self._head_bytes = self._interim = 0
        self._pool.give_back(self, reusable=reusable)
        exchange.body_ended()
        exchange.flush()
