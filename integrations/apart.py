"""Apart: a thread with an event loop of its own, for code that must not hold up the loop that serves.

Here is the loop that serves, there is the other. Whoever waits for the other side has a deadline. A thread that never comes
back is left: it is a daemon, and what it does not take up is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from integrations.background import Background
from xcore.errors import XcoreError

ASK_SECONDS = 5.0  # what is asked here, from there, is answered within
BLOCKED_SECONDS, BEAT_SECONDS = 10.0, 1.0  # it is blocked when a beat has no answer for so long
MAX_UNTAKEN = 32  # orders that wait for a loop that is blocked
P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger("xcore.integrations")


class Late(XcoreError):
    reason = "FirstByteTimeout"
    component = "plugin"


class Busy(XcoreError):
    reason = "QueueFull"
    component = "plugin"


class Ended(XcoreError):
    reason = "PluginNotReady"
    component = "plugin"


class Apart:
    """Made here, on the loop that serves. `stopping` is set there when the controller is to end."""

    def __init__(self, name: str, background: Background) -> None:
        self.name, self.stopping = name, asyncio.Event()
        self._background = background
        self._here, self._thread_here = asyncio.get_running_loop(), threading.get_ident()
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._there = self._runner.get_loop()
        self._over: asyncio.Future[None] = self._here.create_future()
        self._untaken: deque[None] = deque()  # one for each order that was not taken up yet
        self._ident = 0

    # -- here ---------------------------------------------------------------------------------------------------

    def run(self, life: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """Begin there; what is given is done when all of it has ended, or at once with what it raised."""
        threading.Thread(target=self._run, args=(life,), name=self.name, daemon=True).start()
        return self._over

    async def do(
        self, seconds: float, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Have it done there, within so many seconds; it is cancelled when they are over, and with whoever waits for it.

        Raises what it raises, Late, Busy where nothing is taken up, and Ended.
        """
        if self._over.done():
            raise Ended(f"{self.name} has ended; the controller's log says why")
        if len(self._untaken) >= MAX_UNTAKEN:
            raise Busy(f"{self.name} is busy: {MAX_UNTAKEN} requests wait for it already")
        self._untaken.append(None)
        order = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(*args, **kwargs), self._there))
        self.there(self._untaken.pop)
        try:
            await asyncio.wait({order}, timeout=seconds)
            if not order.done():
                raise Late(f"{self.name} did not answer within {seconds:g} s")
        finally:
            order.cancel()
        # What ends its thread must not end this one.
        if order.cancelled() or not isinstance(order.exception(), Exception | None):
            raise Ended(f"{self.name} ended before it answered")
        return order.result()

    async def watch(self) -> None:
        """Tell when its thread is blocked, once each time; has no end."""
        while True:
            back = asyncio.Event()
            self.there(self.here, back.set)
            try:
                async with asyncio.timeout(BLOCKED_SECONDS):
                    await back.wait()
            except TimeoutError:
                if not self._over.done():
                    await self._tell_of_block(back)
            await asyncio.sleep(BEAT_SECONDS)

    async def _tell_of_block(self, back: asyncio.Event) -> None:
        frame = sys._current_frames().get(self._ident)  # noqa: SLF001  the documented way
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(no stack)\n"
        _log.warning("%s has been blocked for %g s, in:\n%s", self.name, BLOCKED_SECONDS, stack)
        self._background.blocked.add(self.name)
        try:
            await back.wait()
            _log.warning("%s goes on", self.name)
        finally:
            self._background.blocked.discard(self.name)

    def there(self, call: Callable[..., object], *args: object) -> None:
        """Have it called there; nothing happens when that has ended."""
        _call(self._there, call, *args)

    def cancel(self) -> None:
        """Cancel all that goes on there."""
        self.there(_cancel_all)

    # -- there --------------------------------------------------------------------------------------------------

    def here(self, call: Callable[..., object], *args: object) -> None:
        """Have it called here; nothing happens when the controller has ended."""
        _call(self._here, call, *args)

    async def await_here(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._here))

    def ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have it answered here, and wait. Raises what it raises, and XcoreError when no answer comes in time."""
        if threading.get_ident() == self._thread_here:
            return question(*args, **kwargs)

        async def answer() -> T:
            return question(*args, **kwargs)

        asked = asyncio.run_coroutine_threadsafe(answer(), self._here)
        try:
            return asked.result(ASK_SECONDS)
        except TimeoutError:
            asked.cancel()
            raise XcoreError(f"{self.name} asked, and had no answer within {ASK_SECONDS:g} s") from None

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it there, as background work of the controller: told to end, given its time, then cancelled."""
        task, ended = asyncio.create_task(work), asyncio.Event()
        task.add_done_callback(lambda _: self.here(ended.set))
        self.here(lambda: self._background.spawn(self.name, self._stand_in(task, ended)))
        return task

    async def _stand_in(self, task: asyncio.Task[None], ended: asyncio.Event) -> None:
        """Be here for a task there: end when it has, fail as it did, and pass on that it is cancelled."""
        try:
            await ended.wait()
        except asyncio.CancelledError:
            self.there(task.cancel)
            await ended.wait()
            raise
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):  # what is none has ended the thread, which is told
            raise error

    def _run(self, life: Coroutine[Any, Any, None]) -> None:
        self._ident = threading.get_ident()
        try:
            with self._runner:
                try:
                    self._runner.run(life)
                except BaseException as error:  # noqa: BLE001  a stranger's: it ends this thread, nothing else
                    self.here(self._settle, error)
        finally:
            self.here(self._settle, None)

    def _settle(self, error: BaseException | None) -> None:
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        elif isinstance(error, asyncio.CancelledError):
            self._over.cancel()
        else:
            self._over.set_exception(error)


def _call(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(call, *args)


def _cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()
