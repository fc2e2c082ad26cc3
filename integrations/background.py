"""Work that goes on beside requests: begun by name, told when the controller is to end, cancelled when its time is over.

What raises has ended: the log tells it with its stack, `failed` names it from then on, and nothing else ends by it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Set as AbstractSet
from typing import Any

LAST_SECONDS = 2.0  # what is cancelled may take so long to note that it was
_log = logging.getLogger("xcore.background")


class Background:
    """One per controller. `stopping` is set when the end was asked for; `blocked` names integrations that stand still."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.failed: set[str] = set()
        self.blocked: set[str] = set()
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._streams: dict[asyncio.Event, str] = {}  # what ends each, and whose key it was asked for with
        self._closing: set[asyncio.Task[None]] = set()

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it until it ends, or the controller does: once `stopping` is set it has `ManagerStopping.grace` seconds."""
        task = asyncio.create_task(work)
        self._tasks[task] = name
        task.add_done_callback(self._tasks.pop)
        self.watch(name, task)
        return task

    def watch(self, name: str, task: asyncio.Future[None]) -> None:
        """Tell when it fails. It is not told to end here."""
        task.add_done_callback(functools.partial(self._ended, name))

    async def stop(self, seconds: float) -> None:
        """Tell what is under way, wait until it has ended, and cancel what has not within `seconds`.

        Cancelling is the end of waiting: all the rest is cancelled, too.
        """
        self.stopping.set()
        self.cut(frozenset(self._streams.values()))
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

    @property
    def streams(self) -> int:
        """How many lasting answers are under way."""
        return len(self._streams)

    async def lasting(self, items: AsyncGenerator[str, None], key: str) -> AsyncIterator[str]:
        """Yield what comes, and end when the controller is to end, or the key (its id) is no longer good.

        For answers that have no end of their own: they must not hold up the one, nor outlive the other.
        """
        end, coming = asyncio.Event(), None
        self._streams[end] = key
        if self.stopping.is_set():
            end.set()
        ended = asyncio.create_task(end.wait())
        try:
            while True:
                coming = asyncio.create_task(_first(items))
                await asyncio.wait({coming, ended}, return_when=asyncio.FIRST_COMPLETED)
                item = coming.result() if coming.done() else None
                if item is None:
                    return
                yield item
        finally:
            del self._streams[end]
            ended.cancel()
            # In a task of its own: where the client has left, whatever is awaited here is cancelled.
            closing = asyncio.create_task(_close(items, coming))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)

    def cut(self, keys: AbstractSet[str]) -> None:
        """End the lasting answers of these keys."""
        for end in [end for end, key in self._streams.items() if key in keys]:
            end.set()

    async def _wait(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    def _ended(self, name: str, task: asyncio.Future[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failed.add(name)
            _log.error("%s has failed and ended", name, exc_info=error)

    def _names(self) -> str:
        return ", ".join(sorted(self._tasks.values()))


async def _first(items: AsyncGenerator[str, None]) -> str | None:
    async for item in items:
        return item
    return None


async def _close(items: AsyncGenerator[str, None], coming: asyncio.Task[str | None] | None) -> None:
    if coming is not None:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
    await items.aclose()
