"""Runs what is due: one controller at a time runs a job, whoever claims its row.

What a run needs is written down before it begins and after it has ended. A database that is away delays jobs and loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from integrations.tasks.task import INTERRUPTED, LOST, Claim, Job, Outcome, Run, outcome_of, overrun
from integrations.tasks.turn import MARGIN_SECONDS, RENEW_SECONDS
from xcore.clock import Clock, sleep
from xcore.errors import Conflict, XcoreError

MAX_RUNNING = 16
LOOK_SECONDS = 15.0  # a clock that was set, a row that another controller changed: seen so soon
AGAIN_SECONDS = 1.0
# What was cancelled has so long to end, before its end is no longer waited for.
CANCELLED_SECONDS = 10.0
_log = logging.getLogger("xcore.tasks")

T = TypeVar("T")
J = TypeVar("J", bound=Job)


class Work(Protocol[J]):
    """Rows of jobs. All but `ended` raise DatabaseUnavailable, StorageFull, and Conflict where somebody else was faster."""

    async def recover(self) -> int:
        """Write down that what this very controller ran when it was killed is interrupted; before anything is begun."""
        ...

    async def prepare(self) -> bool:
        """Bring the rows in line with what there is to do; False when that is not known, or nothing for this replica."""
        ...

    async def next_time(self, busy: Collection[str]) -> float | None:
        """When the first job may begin that is not among the busy ones; None where there is none."""
        ...

    async def claim(self, busy: Collection[str], most: int) -> Sequence[tuple[J, Claim]]:
        """Begin what is ready and nobody holds, at most so many."""
        ...

    async def renew(self, claim: Claim) -> Claim:
        """Hold it for longer; what somebody else has, or nobody wants any more, is not held any longer."""
        ...

    async def finish(self, job: J, claim: Claim, outcome: Outcome) -> None:
        """Write down how it ended."""

    def ended(self, job: J, outcome: Outcome) -> None:
        """Hear of an end, once, before it is written down."""


class Scheduler(Generic[J]):
    """One for each kind of work."""

    def __init__(self, work: Work[J], *, name: str, clock: Clock) -> None:
        self._work, self._name, self._clock = work, name, clock
        self._running: dict[str, asyncio.Task[None]] = {}
        self._endless: set[str] = set()  # those that went on after they were cancelled
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._told = ""
        self._recovered = False

    @property
    def running(self) -> int:
        return len(self._running)

    def poke(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Run jobs until the controller is to end; then wait for what runs. Cancelled, it interrupts them and notes it."""
        self._stopping = stopping
        waking = asyncio.create_task(self._wake_at(stopping))
        try:
            while not stopping.is_set():
                self._wake.clear()
                pause = await self._round()
                await self._clock.wait(self._wake, pause)
            if self._running:
                _log.info("%s are told to end: %s", self._name, ", ".join(sorted(self._running)))
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
        pause = await self._try(self._begin_due())
        return AGAIN_SECONDS if pause is None else pause

    async def _begin_due(self) -> float:
        if not self._recovered:
            await self._work.recover()
            self._recovered = True
        if not await self._work.prepare():
            return AGAIN_SECONDS
        busy = {*self._running, *self._endless}
        due = await self._work.next_time(busy)
        room = MAX_RUNNING - len(self._running)
        if due is None or not room:
            return LOOK_SECONDS
        if due > self._clock.time():
            return min(LOOK_SECONDS, due - self._clock.time())
        for job, claim in await self._work.claim(busy, room):
            self._running[job.id] = asyncio.create_task(self._perform(job, claim))
        return AGAIN_SECONDS

    async def _try(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the database allows; it is told once when it does not, and when it does again."""
        try:
            done = await work
        except Conflict:  # another replica was faster
            return None
        except XcoreError as error:
            if self._told != error.detail:
                _log.warning("%s wait: %s", self._name, error.detail)
            self._told = error.detail
            return None
        self._told = ""
        return done

    # -- one run ------------------------------------------------------------------------------------------------

    async def _perform(self, job: J, claim: Claim) -> None:
        try:
            await self._do(job, claim)
        except Exception:  # noqa: BLE001  an error of ours over one job; others go on, and this one's lease runs out
            _log.exception("how %s ended was not written down, by an error of ours", job.id)
        finally:
            del self._running[job.id]
            self._wake.set()

    async def _do(self, job: J, claim: Claim) -> None:
        doing = asyncio.create_task(job.do(Run(f"{job.id}@{claim.due:.0f}", self._stopping)))
        outcome, began = INTERRUPTED, self._clock.time()
        try:
            outcome = await self._watched(doing, job, claim)
        finally:
            doing.cancel()
            await self._note(job, claim, replace(outcome, seconds=max(0.0, self._clock.time() - began)))

    async def _watched(self, doing: asyncio.Task[str], job: J, held: Claim) -> Outcome:
        """Wait for its end, and hold the lease meanwhile."""
        done = asyncio.Event()
        doing.add_done_callback(lambda _: done.set())
        overdue = self._clock.time() + job.timeout
        while (left := min(overdue, held.until - MARGIN_SECONDS) - self._clock.time()) > 0:
            if await self._clock.wait(done, min(left, RENEW_SECONDS)):
                return _read(doing, job)
            held = await self._try(self._work.renew(held)) or held
        lost = self._clock.time() < overdue
        doing.cancel()
        if not await self._clock.wait(done, CANCELLED_SECONDS):
            _log.error("%s goes on although it was cancelled; it is not begun again before it ends", job.id)
            self._endless.add(job.id)
            doing.add_done_callback(lambda _: self._endless.discard(job.id))
        return LOST if lost else overrun(job.timeout)

    async def _note(self, job: J, claim: Claim, outcome: Outcome) -> None:
        """Write down how it ended, as soon as the database can. What is not written by the end, the next start finds."""
        self._work.ended(job, outcome)
        while await self._try(self._finish(job, claim, outcome)) is None:
            if self._stopping.is_set():
                return
            await sleep(self._clock, AGAIN_SECONDS)

    async def _finish(self, job: J, claim: Claim, outcome: Outcome) -> bool:
        await self._work.finish(job, claim, outcome)
        return True


def _read(doing: asyncio.Task[str], job: Job) -> Outcome:
    if doing.cancelled():
        return INTERRUPTED
    outcome = outcome_of(doing)
    if outcome.reason == "Internal":
        _log.error("%s has failed by an error of ours", job.id, exc_info=doing.exception())
    return outcome
