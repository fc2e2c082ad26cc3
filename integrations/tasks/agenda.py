"""All there is to do by the clock: what is built in, and what plugins have put on their schedules."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from integrations.tasks.calling import Caller
from integrations.tasks.rows import TaskRows
from integrations.tasks.scheduler import Scheduler
from integrations.tasks.schedules import scheduled
from integrations.tasks.task import Claim, Outcome, State, Task
from xcore.clock import WallClock
from xcore.manager import Manager

_log = logging.getLogger("xcore.tasks")


class Share(Enum):
    """What a replica has to do: only one of them calls plugins by the clock."""

    ALL = "all"
    BUILT_IN = "built in"
    NOTHING = "nothing"


class Success(NamedTuple):
    """A run that went well: when it ended, seconds since 1970, and how many it took."""

    at: float
    seconds: float


class Agenda:
    """What routes and metrics ask about tasks, and who runs them. `counts`: runs that ended, by task and state.

    `share` tells what is for this replica, now. `successes`: the last of each task, where this replica runs them.
    """

    def __init__(
        self,
        manager: Manager,
        call: Caller,
        rows: TaskRows,
        built_in: Sequence[Task],
        share: Callable[[], Share],
    ) -> None:
        self._manager, self._call, self._share = manager, call, share
        self._built_in = {task.id: task for task in built_in}
        self._known: Mapping[str, Task] = {}
        self.rows = rows
        self.counts: Counter[tuple[str, str]] = Counter()
        self.successes: dict[str, Success] = {}
        self._remembers = False  # what ran well before it was this replica that runs tasks
        self._clock = WallClock()
        self.scheduler = Scheduler(self, name="tasks", clock=self._clock)
        manager.routes.listen(self._changed)

    def tasks(self) -> Mapping[str, Task]:
        """By id; nothing until it is known which plugins there are."""
        if not self._manager.synced:
            return {}
        plugins = scheduled(self._manager.routes, self._call)
        return {**self._built_in, **{task.id: task for task in plugins}}

    def _changed(self, plugin: str) -> None:
        route = self._manager.routes.get(plugin)
        if route is None or route.manifest.spec.schedules:
            self.scheduler.poke()

    # -- as work: see there -------------------------------------------------------------------------------------

    async def recover(self) -> int:
        return await self.rows.recover()

    async def prepare(self) -> bool:
        share = self._share()
        if not self._manager.synced or share is Share.NOTHING:
            self.successes, self._remembers = {}, False
            return False
        # A plugin's task that this replica does not run is none of its own: it will begin anew, and make up for nothing.
        self._known = self.tasks() if share is Share.ALL else self._built_in
        await self.rows.settle(self._known)
        for task, state in [each for each in self.counts if each[0] not in self._known]:
            del self.counts[task, state]
        await self._remember()
        return True

    async def _remember(self) -> None:
        if not self._remembers:
            found = {task: Success(*each) for task, each in (await self.rows.successes()).items()}
            self.successes, self._remembers = {**found, **self.successes}, True
        self.successes = {task: each for task, each in self.successes.items() if task in self._known}

    async def next_time(self, busy: Collection[str]) -> float | None:
        return await self.rows.next_time(busy)

    async def claim(self, busy: Collection[str], most: int) -> Sequence[tuple[Task, Claim]]:
        return await self.rows.claim(self._known, busy, most)

    async def renew(self, claim: Claim) -> Claim:
        return await self.rows.renew(claim)

    async def finish(self, job: Task, claim: Claim, outcome: Outcome) -> None:
        await self.rows.finish(job, claim, outcome)

    def ended(self, job: Task, outcome: Outcome) -> None:
        self.counts[job.id, outcome.state] += 1
        if outcome.state is State.SUCCEEDED:
            self.successes[job.id] = Success(self._clock.time(), outcome.seconds)
            _log.info("task %s is done", job.id)
        else:
            _log.warning("task %s: %s %s %s", job.id, outcome.state, outcome.reason, outcome.detail)
