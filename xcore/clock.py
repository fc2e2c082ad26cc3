"""Time as an argument: everything that waits or dates asks a Clock, so tests move time instead of sleeping."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time in seconds since the epoch, and waiting. `wait` returns True when the event came, False at the timeout."""

    def time(self) -> float: ...

    async def wait(self, event: asyncio.Event, timeout: float | None) -> bool: ...  # noqa: ASYNC109


class SystemClock:
    """The real one. Advances monotonically from the wall time at its making: a stepped wall clock restarts nothing."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def time(self) -> float:
        return self._offset + time.monotonic()

    async def wait(self, event: asyncio.Event, timeout: float | None) -> bool:  # noqa: ASYNC109
        try:
            async with asyncio.timeout(timeout):
                return await event.wait()
        except TimeoutError:
            return False


class WallClock(SystemClock):
    """What clocks on walls show, also after they were set: for what people have put on a time of day."""

    def time(self) -> float:
        return time.time()


async def sleep(clock: Clock, seconds: float) -> None:
    await clock.wait(asyncio.Event(), seconds)


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
