"""A trusted plugin behind the same connection: a pipe inside this process, with the server of a sandbox at its end.

The very bytes are exchanged that a socket would carry, so no answer differs from a sandbox's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from controller.dataplane.connection import Connection
from sandbox_image.server import HttpProtocol
from sandbox_image.websocket import LIMITS, WebSocketProtocol
from xcore.plugin.asgi import ASGIApp, Receive, Scope, Send

HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
KEEP_ALIVE_SECONDS = 90


def dial_app(app: ASGIApp) -> Callable[[Callable[[], Connection]], Awaitable[Connection]]:
    """Tell how connections to an application are made: served by uvicorn, as the sandbox's runner has it."""

    async def cancellable(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            return  # the caller is gone: there is nobody to answer

    config = uvicorn.Config(
        cancellable,
        http="httptools",
        ws=WebSocketProtocol,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        **LIMITS,
    )

    async def dial(make: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        state = ServerState()
        near_protocol, far_protocol = make(), HttpProtocol(config, state, {}, loop)
        near, far = End(near_protocol, loop), End(far_protocol, loop)
        near.peer, far.peer = far, near
        far_protocol.connection_made(far)
        near_protocol.connection_made(near)
        return near_protocol

    return dial


class End(asyncio.Transport):
    """One end of the pipe: what is written here is read by the protocol at the other end, a turn of the loop later."""

    peer: End

    def __init__(self, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._protocol, self._loop = protocol, loop
        self._inbox: list[bytes] = []
        self._size = 0
        self._scheduled = self._paused = self._closing = self._lost = self._peer_full = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """An upgrade: from now on another protocol reads what the other end writes."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self.peer.arrive(bytes(data))

    def arrive(self, data: bytes) -> None:
        """Take in what the other end wrote; tell it when that is enough for now."""
        if self._lost:
            return
        self._inbox.append(data)
        self._size += len(data)
        self._schedule()
        if self._size > HIGH_WATER and not self._peer_full:
            self._peer_full = True
            self.peer.full()

    def full(self) -> None:
        self._protocol.pause_writing()

    def writable(self) -> None:
        if not self._lost:
            self._protocol.resume_writing()

    def _schedule(self) -> None:
        if not self._scheduled and not self._lost:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        while self._inbox and not self._paused and not self._closing:
            data = self._inbox.pop(0)
            self._size -= len(data)
            self._protocol.data_received(data)
        if self._peer_full and self._size < LOW_WATER:
            self._peer_full = False
            self.peer.writable()
        if self._closing or (self.peer.is_closing() and not self._inbox):
            self._lose()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._inbox.clear()
            self._protocol.connection_lost(None)
            self.peer.hung_up()

    def hung_up(self) -> None:
        """Notice that the other end is closed, once all it wrote has been read."""
        self._schedule()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._schedule()
            self.peer.hung_up()

    def abort(self) -> None:
        self.close()
        self.peer.reset()

    def reset(self) -> None:
        """Drop what is not read yet."""
        self._inbox.clear()
        self._size = 0

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._schedule()

    def get_write_buffer_size(self) -> int:
        return self.peer.unread

    @property
    def unread(self) -> int:
        return self._size

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002  a pipe has no addresses
        return default
