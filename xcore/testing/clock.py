"""A clock that stands still until it is moved: nothing sleeps, and what is due comes in its order."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

ROUNDS = 40  # turns of the loop in which everything that can run has run
STEP = 0.25


class FakeClock:
    """See `Clock`. Only `advance` moves it."""

    def __init__(self, at: float = 1_700_000_000.0) -> None:
        self._now = at
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Timeout]] = []

    def time(self) -> float:
        return self._now

    async def wait(self, event: asyncio.Event, timeout: float | None) -> bool:  # noqa: ASYNC109
        if event.is_set():
            return True
        try:
            async with asyncio.timeout(None) as deadline:
                if timeout is None:
                    return await event.wait()
                waiting = (self._now + max(0.0, timeout), next(self._order), deadline)
                heapq.heappush(self._waiting, waiting)
                if timeout <= 0:
                    self._fire(self._now)
                try:
                    return await event.wait()
                finally:
                    if waiting in self._waiting:
                        self._waiting.remove(waiting)
                        heapq.heapify(self._waiting)
        except TimeoutError:
            return False

    async def advance(self, seconds: float) -> None:
        """Let time pass: each wait ends at its moment, and all tasks run until they wait again."""
        until = self._now + seconds
        await idle()
        while self._waiting and self._waiting[0][0] <= until:
            self._now = max(self._now, self._waiting[0][0])
            self._fire(self._now)
            await idle()
        self._now = until
        await idle()

    async def until(self, condition: Callable[[], object], *, seconds: float = 120.0) -> None:
        """Let time pass until the condition holds, at most so long; raises AssertionError when it did not."""
        end = self._now + seconds
        await idle()
        while not condition():
            if self._now >= end:
                raise AssertionError(f"it did not come about within {seconds:g} s")
            await self.advance(STEP)

    def _fire(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, _, deadline = heapq.heappop(self._waiting)
            deadline.reschedule(asyncio.get_running_loop().time())


async def idle() -> None:
    """Let everything run that can run now."""
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
