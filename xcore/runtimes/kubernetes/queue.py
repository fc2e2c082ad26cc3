"""Keys that want a look, each once, a few at a time; one that failed comes back after longer and longer waits."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from xcore.errors import XcoreError

WORKERS = 4
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
SEVERAL = 3
_log = logging.getLogger("xcore.kubernetes")


class KeyQueue:
    """`look(key)` is never under way twice for one key. It may give the seconds until it wants to be called again."""

    def __init__(self, look: Callable[[str], Awaitable[float | None]], *, workers: int = WORKERS) -> None:
        self._look, self._workers = look, workers
        self._waiting: dict[str, None] = {}  # in order
        self._busy: set[str] = set()
        self._again: set[str] = set()  # added while busy
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ready = asyncio.Event()

    @property
    def failing(self) -> int:
        """How many keys have failed several times on end."""
        return sum(times >= SEVERAL for times in self._failures.values())

    def add(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._busy:
            self._again.add(key)
        else:
            self._waiting[key] = None
            self._ready.set()

    def add_later(self, key: str, seconds: float) -> None:
        if key in self._timers or key in self._waiting:
            return
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(seconds, self.add, key)

    async def run(self) -> None:
        """Work for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._ready.clear()
                await self._ready.wait()
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._busy.add(key)
            try:
                later = await self._try(key)
            finally:
                self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif later is not None:
                self.add_later(key, later)

    async def _try(self, key: str) -> float | None:
        try:
            later = await self._look(key)
        except Exception as error:  # noqa: BLE001  an object that a stranger edited must not stop the looks at all others
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            if failures == 1:
                ours = isinstance(error, XcoreError)
                _log.warning("%s: %s", key, error, exc_info=None if ours else error)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
            return pause * random.uniform(0.75, 1.25)  # noqa: S311  spread, no secret
        self._failures.pop(key, None)
        return later
