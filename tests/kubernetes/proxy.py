"""A way to the API server that a test can break: TLS passes through it untouched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PIECE = 2**16


class Proxy:
    """`stall`: nothing the server says arrives any more, and no connection ends; `new`: on later connections, either.

    `cut`: every connection ends, none begins.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._held: set[asyncio.Event] = set()  # one for each connection; set while it flows
        self._stalls = self._refuses = False
        self._connections: set[asyncio.StreamWriter] = set()
        self.port = 0

    def stall(self, *, new: bool) -> None:
        self._stalls = new
        for flows in self._held:
            flows.clear()

    def cut(self) -> None:
        self._refuses = True
        for writer in self._connections:
            writer.transport.abort()

    def heal(self) -> None:
        """What was held back arrives."""
        self._stalls = self._refuses = False
        for flows in self._held:
            flows.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if not self._refuses:
                others = await asyncio.open_connection(*self._target)
                await self._join((reader, writer), others)
        writer.transport.abort()

    async def _join(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        both, flows = {near[1], far[1]}, asyncio.Event()
        if not self._stalls:
            flows.set()
        self._connections |= both
        self._held.add(flows)
        asking = asyncio.create_task(self._pump(near[0], far[1], None))
        answering = asyncio.create_task(self._pump(far[0], near[1], flows))
        try:
            await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (asking, answering):
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            self._connections -= both
            self._held.discard(flows)
            for writer in both:
                writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event | None
    ) -> None:
        piece = b"first"
        while piece:
            piece = await reader.read(PIECE)
            if flows is not None:
                await flows.wait()
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def proxied(target: tuple[str, int]) -> AsyncIterator[Proxy]:
    """Listen on 127.0.0.1 for as long as it lasts."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1")
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
