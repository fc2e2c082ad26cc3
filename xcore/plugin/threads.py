"""Threads for sync actions: bounded, and honest about a thread that will not come back.

A thread cannot be killed. So it is watched: `stuck` tells when a call has outlived its deadline by the
allowance, running or still queued behind others, and the liveness probe then fails the whole process.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

ALLOWANCE_SECONDS = 10.0


class ActionThreads:
    """At most `size` sync actions at once; more wait their turn."""

    def __init__(self, size: int = 16, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="action")
        self._clock = clock
        self._ids = itertools.count()
        self._overdue_at: dict[int, float] = {}

    async def run(self, function: Callable[[], T], deadline: float) -> T:
        """Run `function` in a thread. `deadline`: seconds its caller waits; a cancelled caller does not stop it."""
        call = next(self._ids)
        self._overdue_at[call] = self._clock() + deadline + ALLOWANCE_SECONDS
        future = self._pool.submit(contextvars.copy_context().run, function)
        future.add_done_callback(lambda _: self._overdue_at.pop(call, None))
        return await asyncio.wrap_future(future)

    def stuck(self) -> bool:
        now = self._clock()
        return any(at < now for at in self._overdue_at.copy().values())

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
