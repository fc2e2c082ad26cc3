"""Uvicorn with our protocol class, our signals and an orderly end: background work, then requests, then all the rest."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import uvicorn
from fastapi import FastAPI

from controller.dataplane.plane import DataPlane
from controller.dataplane.protocol import DataPlaneProtocol
from integrations.background import Background

DRAIN_SECONDS = 25  # from the signal on; background work has the first of them
BACKGROUND_SECONDS = 10
_log = logging.getLogger("xcore.controller")


class Server:
    """`told` tells the listeners of xhooks that the end was asked for, and how many seconds background work has."""

    def __init__(
        self, app: FastAPI, plane: DataPlane, background: Background, *, told: Callable[[float], None]
    ) -> None:
        self._plane, self._background, self._told = plane, background, told
        self._leaving: asyncio.Task[None] | None = None
        config = uvicorn.Config(
            app,
            http=functools.partial(DataPlaneProtocol, plane),  # type: ignore[arg-type]  # made like a class
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            proxy_headers=False,
        )
        self._server = _QuietServer(config)

    async def run(self, listener: socket.socket, rest: AbstractAsyncContextManager[None]) -> None:
        """Serve until SIGTERM or SIGINT, inside of all the `rest`; raises XcoreError when it could not start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        async with rest:
            await self._server.serve(sockets=[listener])

    def _end(self) -> None:
        if self._leaving is None:
            _log.info("asked to end (again: at once)")
            self._plane.draining = True
            self._leaving = asyncio.create_task(self._leave())
        else:
            self._server.force_exit = True
            self._leaving.cancel()
            self._plane.close()

    async def _leave(self) -> None:
        """Have background work end while requests are still taken, for it may need them, then the requests."""
        began = time.monotonic()
        self._told(BACKGROUND_SECONDS)
        try:
            await self._background.stop(BACKGROUND_SECONDS)
        finally:
            left = math.ceil(DRAIN_SECONDS - (time.monotonic() - began))
            self._server.config.timeout_graceful_shutdown = left
            self._server.should_exit = True
        _log.info("finishing requests, within %d s", left)


class _QuietServer(uvicorn.Server):
    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()  # signals are ours: uvicorn would raise them once more at the end
