"""The connections to one instance: kept alive, and reused only when beyond doubt.

Nothing a plugin sends can reach another request: a connection goes back to its pool only after one whole, well
framed answer to one wholly sent request with nothing behind it, and pools are per instance.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from controller.dataplane.connection import Connection
from controller.dataplane.inprocess import dial_app
from xcore.endpoint import AddressEndpoint, AsgiEndpoint, Endpoint, TcpEndpoint, UnixEndpoint
from xcore.errors import UpstreamError, UpstreamUnreachable

if TYPE_CHECKING:
    from controller.dataplane.exchange import Exchange

MAX_IDLE = 64
# Shorter than a sandbox keeps an idle connection: it is never the plugin that hangs up first.
IDLE_SECONDS = 30.0
# Node hangs up after 5 s: a request sent at that moment would be lost.
IMAGE_IDLE_SECONDS = 3.0

Dial = Callable[[Callable[[], Connection]], Awaitable[Connection]]


class Pool:
    """`busy` counts the connections that carry a request or are being made for one."""

    def __init__(self, dial: Dial, clock: Callable[[], float], *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._dial, self._clock, self._idle_seconds = dial, clock, idle_seconds
        self._idle: list[Connection] = []
        self._dials: set[asyncio.Task[None]] = set()
        self._retired = False
        self.busy = 0

    @property
    def idle(self) -> int:
        return len(self._idle)

    def send(self, exchange: Exchange) -> None:
        """Give the exchange a connection, now or soon: `exchange.connected(connection)` or `exchange.refused(error)`."""
        self.busy += 1
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                connection.exchange = exchange
                exchange.connected(connection)
                return
        task = asyncio.get_running_loop().create_task(self._connect(exchange))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _connect(self, exchange: Exchange) -> None:
        try:
            connection = await self._dial(lambda: Connection(self))
        except UpstreamError as error:
            self.busy -= 1
            if not exchange.done:
                exchange.refused(error)
        except BaseException:
            self.busy -= 1
            exchange.fail("Internal", "an error of the controller; it is in its log")
            raise
        else:
            if exchange.done:
                self.give_back(connection, reusable=True)
            else:
                connection.exchange = exchange
                exchange.connected(connection)

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        self.busy -= 1
        connection.exchange = None
        if (
            reusable
            and not self._retired
            and len(self._idle) < MAX_IDLE
            and not connection.transport.is_closing()
        ):
            connection.idle_since = self._clock()
            self._idle.append(connection)
        else:
            connection.transport.abort()

    def forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def reap(self, now: float) -> None:
        """Close what has been idle for long."""
        while self._idle and now - self._idle[0].idle_since > self._idle_seconds:
            self._idle.pop(0).transport.abort()

    def retire(self) -> None:
        """No route leads here any more: requests under way finish, nothing is kept."""
        self._retired = True
        for connection in self._idle:
            connection.transport.abort()
        self._idle.clear()


def dialler(endpoint: Endpoint) -> Dial:
    """Tell how connections to an endpoint are made."""
    if isinstance(endpoint, AsgiEndpoint):
        return dial_app(endpoint.app)
    if isinstance(endpoint, TcpEndpoint | AddressEndpoint):
        return _dial_tcp(endpoint)
    assert isinstance(endpoint, UnixEndpoint)
    return _dial_unix(endpoint)


def _dial_unix(endpoint: UnixEndpoint) -> Dial:
    async def dial(make: Callable[[], Connection]) -> Connection:
        sock = endpoint.dial()
        return await _taken_over(sock, asyncio.get_running_loop().create_unix_connection(make, sock=sock))

    return dial


def _dial_tcp(endpoint: TcpEndpoint | AddressEndpoint) -> Dial:
    async def dial(make: Callable[[], Connection]) -> Connection:
        sock = await endpoint.dial()
        return await _taken_over(sock, asyncio.get_running_loop().create_connection(make, sock=sock))

    return dial


async def _taken_over(
    sock: socket.socket, connecting: Awaitable[tuple[asyncio.BaseTransport, Connection]]
) -> Connection:
    try:
        _, connection = await connecting
    except OSError as error:
        sock.close()
        raise UpstreamUnreachable(f"the sandbox hung up: {error.strerror}") from error
    return connection
