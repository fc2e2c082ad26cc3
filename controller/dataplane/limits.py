"""Bulkheads: how many requests of one plugin are under way, and how many wait. One slow plugin fills only its own."""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Waiter(Protocol):
    """What can stand in a bulkhead's queue. It leaves by `Bulkhead.leave`, also when admission fails it at once."""

    def admitted(self) -> None: ...


class Bulkhead:
    """`limit` at once, `length` waiting. Limits are given at each call: a manifest may change them in place."""

    __slots__ = ("_admitting", "_queue", "active")

    def __init__(self) -> None:
        self.active = 0
        self._queue: deque[Waiter] = deque()
        self._admitting = False

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def enter(self, waiter: Waiter, *, limit: int, length: int) -> bool | None:
        """True: go on now. False: queued, `waiter.admitted()` is called later. None: full."""
        if self.active < limit and not self._queue:
            self.active += 1
            return True
        if len(self._queue) >= length:
            return None
        self._queue.append(waiter)
        return False

    def leave(self, limit: int) -> None:
        """One that went on is done; the next in the queue takes its place."""
        self.active -= 1
        self.fill(limit)

    def fill(self, limit: int) -> None:
        """Let in whom there is a place for; to be called when the limit has grown."""
        if self._admitting or not self._queue:
            return  # one who is admitted may leave at once: the loop below goes on, not deeper
        self._admitting = True
        try:
            while self._queue and self.active < limit:
                self.active += 1
                self._queue.popleft().admitted()
        finally:
            self._admitting = False

    def abandon(self, waiter: Waiter) -> None:
        """A waiting one gives up."""
        self._queue.remove(waiter)
