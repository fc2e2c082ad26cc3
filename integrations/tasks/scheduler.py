"""Runs tasks when they are due: one controller at a time runs a task, whoever claims its row.

What a run needs is written down before it begins and after it has ended. A database that is away delays tasks and loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from integrations.tasks.rows import Claim, TaskRows
from integrations.tasks.task import INTERRUPTED, LOST, Outcome, Run, State, Task, outcome_of, overrun
from integrations.tasks.turn import MARGIN_SECONDS, RENEW_SECONDS
from xcore.clock import Clock, sleep
from xcore.errors import Conflict, XcoreError

MAX_RUNNING = 16
LOOK_SECONDS = 15.0  # a clock that was set, a row that another controller changed: seen so soon
AGAIN_SECONDS = 1.0
# What was cancelled has so long to end, before its end is no longer waited for.
CANCELLED_SECONDS = 10.0
_log = logging.getLogger("xcore.tasks")

# What there is to run; None as long as that is not known, for the plugins are not.
Tasks = Callable[[], Mapping[str, Task] | None]
T = TypeVar("T")


class Scheduler:
    """`leads` tells whether this replica is to run tasks at all. `ended` counts runs by task and state."""

    def __init__(
        self, rows: TaskRows, tasks: Tasks, *, clock: Clock, leads: Callable[[], bool] = lambda: True
    ) -> None:
        self._rows, self._tasks, self._clock, self._leads = rows, tasks, clock, leads
        self._running: dict[str, asyncio.Task[None]] = {}
        self._endless: set[str] = set()  # those that went on after they were cancelled
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._told = ""
        self.ended: Counter[tuple[str, str]] = Counter()

    @property
    def running(self) -> int:
        return len(self._running)

    def poke(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Run tasks until the controller is to end; then wait for what runs. Cancelled, it interrupts them and notes it."""
        self._stopping = stopping
        waking = asyncio.create_task(self._wake_at(stopping))
        try:
            await self._try(self._rows.recover())
            while not stopping.is_set():
                self._wake.clear()
                pause = await self._round()
                await self._clock.wait(self._wake, pause)
            if self._running:
                _log.info("tasks are told to end: %s", ", ".join(sorted(self._running)))
                await asyncio.wait(self._running.values())
        finally:
            waking.cancel()
            for run in self._running.values():
                run.cancel()
            await asyncio.gather(waking, *self._running.values(), return_exceptions=True)

    async def _wake_at(self, event: asyncio.Event) -> None:
        await event.wait()
        self._wake.set()

    async def _round(self) -> float:
        """Begin what is due; returns after how many seconds to look again."""
        tasks = self._tasks()
        if tasks is None:
            return AGAIN_SECONDS
        if not self._leads():
            return LOOK_SECONDS
        pause = await self._try(self._begin_due(tasks))
        return AGAIN_SECONDS if pause is None else pause

    async def _begin_due(self, tasks: Mapping[str, Task]) -> float:
        await self._rows.settle(tasks)
        busy = {*self._running, *self._endless}
        due = await self._rows.next_time(busy)
        room = MAX_RUNNING - len(self._running)
        if due is None or not room:
            return LOOK_SECONDS
        if due > self._clock.time():
            return min(LOOK_SECONDS, due - self._clock.time())
        for claim in await self._rows.claim(tasks, busy, room):
            run = asyncio.create_task(self._perform(tasks[claim.task], claim))
            self._running[claim.task] = run
        return AGAIN_SECONDS

    async def _try(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the database allows; it is told once when it does not, and when it does again."""
        try:
            done = await work
        except Conflict:  # another replica was faster
            return None
        except XcoreError as error:
            if self._told != error.detail:
                _log.warning("tasks wait: %s", error.detail)
            self._told = error.detail
            return None
        self._told = ""
        return done

    # -- one run ------------------------------------------------------------------------------------------------

    async def _perform(self, task: Task, claim: Claim) -> None:
        work = asyncio.create_task(task.do(Run(f"{task.id}@{claim.due:.0f}", self._stopping)))
        outcome = INTERRUPTED
        try:
            outcome = await self._watched(work, task, claim)
        finally:
            work.cancel()
            await self._note(task, claim, outcome)
            del self._running[task.id]
            self._wake.set()

    async def _watched(self, work: asyncio.Task[str], task: Task, held: Claim) -> Outcome:
        """Wait for its end, and hold the lease meanwhile."""
        done = asyncio.Event()
        work.add_done_callback(lambda _: done.set())
        overdue = self._clock.time() + task.timeout
        while (left := min(overdue, held.until - MARGIN_SECONDS) - self._clock.time()) > 0:
            if await self._clock.wait(done, min(left, RENEW_SECONDS)):
                return _read(work, task)
            held = await self._try(self._rows.renew(held)) or held
        lost = self._clock.time() < overdue
        work.cancel()
        if not await self._clock.wait(done, CANCELLED_SECONDS):
            _log.error(
                "task %s goes on although it was cancelled; it is not begun again before it ends", task.id
            )
            self._endless.add(task.id)
            work.add_done_callback(lambda _: self._endless.discard(task.id))
        return LOST if lost else overrun(task.timeout)

    async def _note(self, task: Task, claim: Claim, outcome: Outcome) -> None:
        """Write down how it ended, as soon as the database can. What is not written by the end, the next start finds."""
        self.ended[task.id, outcome.state] += 1
        self._tell(task, outcome)
        while await self._try(self._finish(task, claim, outcome)) is None:
            if self._stopping.is_set():
                return
            await sleep(self._clock, AGAIN_SECONDS)

    async def _finish(self, task: Task, claim: Claim, outcome: Outcome) -> bool:
        await self._rows.finish(claim, task, outcome)
        return True

    def _tell(self, task: Task, outcome: Outcome) -> None:
        if outcome.state is State.SUCCEEDED:
            _log.info("task %s is done", task.id)
        else:
            _log.warning("task %s: %s %s %s", task.id, outcome.state, outcome.reason, outcome.detail)


def _read(work: asyncio.Task[str], task: Task) -> Outcome:
    if work.cancelled():
        return INTERRUPTED
    outcome = outcome_of(work)
    if outcome.reason == "Internal":
        _log.error("task %s has failed by an error of ours", task.id, exc_info=work.exception())
    return outcome
