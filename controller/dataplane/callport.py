"""Where pods call other plugins: a port for that alone, which all instances share. Nothing else is served there.

Connections are bounded: CONNECTIONS in all and so many BY_ADDRESS, for it is only found out with a request whose they are; one more is cut.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable

from xcore.runtimes.callsockets import Identify

CONNECTIONS = 2048
BY_ADDRESS = 64
BACKLOG = 512


class CallPort:
    """`here`: where this very controller is called, HOST:PORT. `identify` tells whose a token is."""

    def __init__(self, listener: socket.socket, here: str, identify: Identify) -> None:
        self._listener, self.here, self.identify = listener, here, identify
        self._server: asyncio.Server | None = None
        self._taken: dict[asyncio.Transport, str] = {}
        self._by_address: Counter[str] = Counter()

    async def start(self, answer: Callable[[], asyncio.Protocol]) -> None:
        """Answer from now on; who connected before has waited in the backlog. Once is enough."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(answer, sock=self._listener, backlog=BACKLOG)

    def close(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for transport in list(self._taken):
            transport.abort()

    def enter(self, transport: asyncio.Transport, address: str) -> bool:
        """Take a connection in, if there is room."""
        if len(self._taken) >= CONNECTIONS or self._by_address[address] >= BY_ADDRESS:
            return False
        self._taken[transport] = address
        self._by_address[address] += 1
        return True

    def leave(self, transport: asyncio.Transport) -> None:
        """A connection has ended, perhaps one that was not taken in."""
        address = self._taken.pop(transport, None)
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
