"""Work that goes on beside requests: begun by name, told when the controller is to end, cancelled when its time is over.

What raises has ended: the log tells it with its stack, `failed` names it from then on, and nothing else ends by it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

LAST_SECONDS = 2.0  # what is cancelled may take so long to note that it was
_log = logging.getLogger("xcore.background")


class Background:
    """One per controller. `stopping` is set when the end was asked for."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.failed: set[str] = set()
        self._tasks: dict[asyncio.Task[None], str] = {}

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it until it ends, or the controller does: once `stopping` is set it has `ManagerStopping.grace` seconds."""
        task = asyncio.create_task(work)
        self._tasks[task] = name
        task.add_done_callback(self._tasks.pop)
        self.watch(name, task)
        return task

    def watch(self, name: str, task: asyncio.Task[None]) -> None:
        """Tell when it fails. It is not told to end here."""
        task.add_done_callback(functools.partial(self._ended, name))

    async def stop(self, seconds: float) -> None:
        """Tell what is under way, wait until it has ended, and cancel what has not within `seconds`.

        Cancelling is the end of waiting: all the rest is cancelled, too.
        """
        self.stopping.set()
        began = time.monotonic()
        if self._tasks:
            _log.info("told to end, within %g s: %s", seconds, self._names())
        try:
            await self._wait(seconds)
        finally:
            if self._tasks:
                _log.warning("cut short: %s", self._names())
            for task in self._tasks:
                task.cancel()
        await self._wait(LAST_SECONDS)
        _log.info("background work has ended, after %.1f s", time.monotonic() - began)

    async def until_stopping(self, items: AsyncGenerator[str, None]) -> AsyncIterator[str]:
        """Yield what comes, and end when the controller is to: an answer without an end must not hold it up."""
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            async with aclosing(items):
                while (item := await _next(items, stopping)) is not None:
                    yield item
        finally:
            stopping.cancel()

    async def _wait(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failed.add(name)
            _log.error("%s has failed and ended", name, exc_info=error)

    def _names(self) -> str:
        return ", ".join(sorted(self._tasks.values()))


async def _next(items: AsyncGenerator[str, None], stopping: asyncio.Task[Any]) -> str | None:
    coming = asyncio.create_task(_first(items))
    try:
        await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
    return None if coming.cancelled() else coming.result()


async def _first(items: AsyncGenerator[str, None]) -> str | None:
    async for item in items:
        return item
    return None
