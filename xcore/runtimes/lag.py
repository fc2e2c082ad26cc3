"""Watches the event loop: how late it runs, and what it was doing while it stood still.

A trusted plugin that blocks the loop stops every request. It cannot be prevented, only seen: a thread notices that
the heartbeat stays away and logs where the loop's thread is, once per block.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from types import FrameType

_log = logging.getLogger("xcore.loop")


class LoopLag:
    """`start` on the loop to be watched; `lag_seconds` is how late its last heartbeat was, for metrics."""

    def __init__(self, *, interval: float = 0.25, threshold: float = 1.0) -> None:
        self._interval, self._threshold = interval, threshold
        self.lag_seconds = 0.0
        self._beat = time.monotonic()
        self._stopped = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._watched = 0

    def start(self) -> None:
        self._stopped.clear()
        self._beat = time.monotonic()
        self._watched = threading.get_ident()
        self._task = asyncio.get_running_loop().create_task(self._heartbeat())
        threading.Thread(target=self._watch, name="loop-lag", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _heartbeat(self) -> None:
        while True:
            due = time.monotonic() + self._interval
            await asyncio.sleep(self._interval)
            self._beat = time.monotonic()
            self.lag_seconds = max(0.0, self._beat - due)

    def _watch(self) -> None:
        told = 0.0
        before = time.monotonic()
        while not self._stopped.wait(self._interval):
            now, beat = time.monotonic(), self._beat
            # Late ourselves: the whole process was held (SIGSTOP, no processor), and the loop is not to blame.
            held = now - before > self._interval + self._threshold / 2
            before = now
            blocked = now - beat - self._interval
            if blocked > self._threshold and beat != told and not held:
                told = beat
                self._tell(blocked)

    def _tell(self, blocked: float) -> None:
        self.lag_seconds = blocked
        frame: FrameType | None = sys._current_frames().get(self._watched)  # noqa: SLF001  the documented way
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(no stack)\n"
        _log.warning("the event loop has been blocked for %.1f s, in:\n%s", blocked, stack)
