"""Threads for sync actions: bounded, and honest about a thread that will not come back.

A thread cannot be killed. So it is watched: `stuck` tells when a call has outlived its deadline by the
allowance, running or still queued behind others, and the liveness probe then fails the whole process.
Not concurrent.futures: its threads hold the process open, it hangs on StopIteration, and it runs what nobody
waits for any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from xcore.plugin.contained import Contained, PluginFailed

T = TypeVar("T")

ALLOWANCE_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class _Call:
    function: Callable[[], Any]
    deadline: float
    waiter: asyncio.Future[Any]
    context: contextvars.Context


class ActionThreads:
    """At most `size` sync actions at once; more wait their turn."""

    def __init__(
        self, size: int = 16, *, clock: Callable[[], float] = time.monotonic, name: str = "action"
    ) -> None:
        self._size = size
        self._clock = clock
        self._name = name
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._calls: set[_Call] = set()  # queued or running
        self._threads: list[threading.Thread] = []

    async def run(self, function: Callable[[], T], deadline: float, *, left: float = math.inf) -> T:
        """Run `function` in a thread and return what it returns; raises PluginFailed from what it raises.

        `deadline`: seconds its caller waits; `left`: seconds it has once its caller is cancelled. A call still queued
        by then is never started; a running one is not stopped, not even by cancelling its caller.
        """
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        call = _Call(function, self._clock() + deadline, waiter, contextvars.copy_context())
        self._calls.add(call)
        try:
            self._grow()
        except RuntimeError as error:  # no more threads: those there are have to do
            if not self._threads:
                self._calls.discard(call)
                raise PluginFailed from error
        self._queue.put(call)
        try:
            return await waiter
        except asyncio.CancelledError:
            call.deadline = min(call.deadline, self._clock() + left)
            raise

    def stuck(self) -> bool:
        late = self._clock() - ALLOWANCE_SECONDS
        return any(call.deadline < late for call in self._calls.copy())

    def close(self) -> None:
        """Drop what is queued and let idle threads end; a busy one is left alone."""
        with contextlib.suppress(queue.Empty):
            while call := self._queue.get_nowait():
                self._calls.discard(call)
                call.waiter.cancel()
        for _ in self._threads:
            self._queue.put(None)

    def _grow(self) -> None:
        if len(self._threads) < min(len(self._calls), self._size):
            # A daemon: a thread that never ends must not keep the process from ending.
            thread = threading.Thread(
                target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            self._do(call)
            del call  # an idle thread holds nobody's arguments

    def _do(self, call: _Call) -> None:
        value, failure = None, None
        try:
            with Contained():
                if not call.waiter.cancelled():
                    value = call.context.run(self._in_time, call)
        except PluginFailed as failed:
            failure = failed
        self._calls.discard(call)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            call.waiter.get_loop().call_soon_threadsafe(_settle, call.waiter, value, failure)

    def _in_time(self, call: _Call) -> Any:
        if self._clock() > call.deadline:
            raise TimeoutError(f"all {self._size} threads for sync actions are busy")
        return call.function()


def _settle(waiter: asyncio.Future[Any], value: object, failure: PluginFailed | None) -> None:
    if waiter.done():
        return
    if failure is None:
        waiter.set_result(value)
    else:
        waiter.set_exception(failure)
