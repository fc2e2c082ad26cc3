"""Tasks and their runs as rows: what is due, who has it, how it ended. Every change is one transaction."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from integrations.database.database import Database
from integrations.database.pieces import in_pieces, oldest
from integrations.database.tables_tasks import RunRow, TaskRow
from integrations.tasks import turn as turns
from integrations.tasks.task import LOST, REMOVED, Claim, Outcome, State, Task, TaskNotFound
from integrations.tasks.turn import Turn
from xcore.clock import Clock
from xcore.errors import Conflict

KEPT_RUNS = 100  # of each task
_TURN = ("due", "ready", "attempts", "interrupted", "holder", "held_until", "by")


class TaskRows:
    """`holder` names this controller, also after it was started again. All methods raise DatabaseUnavailable, StorageFull."""

    def __init__(
        self, database: Database, holder: str, clock: Clock, dice: Callable[[], float] = random.random
    ) -> None:
        self._database, self._holder, self._clock, self._dice = database, holder, clock, dice

    # -- which there are ----------------------------------------------------------------------------------------

    async def settle(self, tasks: Mapping[str, Task]) -> None:
        """Have a row for each task and no other; one whose times are others now waits for the next of them."""
        async with self._database.reading() as session:
            found = {
                row.id: (row.times, row.paused)
                for row in await session.execute(select(TaskRow.id, TaskRow.times, TaskRow.paused))
            }
        wanted = {task.id: (str(task.times), task.paused) for task in tasks.values()}
        if wanted != found:
            async with self._database.writing() as session:
                await self._settle(session, tasks)

    async def _settle(self, session: AsyncSession, tasks: Mapping[str, Task]) -> None:
        now = self._clock.time()
        rows = {row.id: row for row in await session.scalars(select(TaskRow).with_for_update())}
        for name, row in rows.items():
            task = tasks.get(name)
            if (
                task is None
            ):  # also where the run's controller is gone: nobody else would come to write it down
                _close(await session.get(RunRow, row.run), REMOVED, now)
                await session.delete(row)
                continue
            row.paused = task.paused
            if row.times != str(task.times):
                row.times = str(task.times)
                if turns.is_free(_turn(row), now):
                    _put(row, turns.first(task.times, now))
        for name, task in tasks.items():
            if name not in rows:
                row = TaskRow(id=name, times=str(task.times), paused=task.paused, run=0)
                session.add(_put(row, turns.first(task.times, now)))

    async def recover(self) -> int:
        """Write down that what this very controller ran when it was killed is interrupted; returns how many runs.

        To be called before anything is begun. Whoever claims such a task next makes up for it.
        """
        now = self._clock.time()
        mine = select(RunRow).where(RunRow.holder == self._holder, RunRow.state == State.RUNNING)
        async with self._database.writing() as session:
            lost = list(await session.scalars(mine))
            for run in lost:
                _close(run, LOST, now)
            free = update(TaskRow).where(TaskRow.holder == self._holder).values(held_until=0.0)
            await session.execute(free)
        return len(lost)

    # -- runs ---------------------------------------------------------------------------------------------------

    async def next_time(self, busy: Collection[str] = ()) -> float | None:
        """When the first task may begin that is not among the busy ones; None where there is none."""
        moment = func.min(later(TaskRow.ready, TaskRow.held_until))
        async with self._database.reading() as session:
            free = select(moment).where(TaskRow.paused.is_(False), TaskRow.id.not_in(busy))
            return await session.scalar(free)

    async def claim(
        self, tasks: Mapping[str, Task], busy: Collection[str], most: int
    ) -> list[tuple[Task, Claim]]:
        """Begin what is ready and nobody holds, the longest due first, at most so many."""
        now = self._clock.time()
        ready = (
            select(TaskRow)
            .where(TaskRow.ready <= now, TaskRow.held_until <= now)
            .where(TaskRow.paused.is_(False), TaskRow.id.not_in(busy))
            .order_by(TaskRow.ready)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        async with self._database.writing() as session:
            rows = [row for row in await session.scalars(ready) if row.id in tasks]
            claims = [await self._begin(session, row, tasks[row.id]) for row in rows]
        return [(tasks[claim.id], claim) for claim in claims if claim is not None]

    async def _begin(self, session: AsyncSession, row: TaskRow, task: Task) -> Claim | None:
        now = self._clock.time()
        if row.holder:
            await self._lose(session, row, task)
            if not turns.is_ready(_turn(row), now):
                return None
        turn = turns.begun(_turn(row), self._holder, now)
        run = RunRow(
            task=row.id,
            due=turn.due,
            started=now,
            attempt=turn.attempts,
            by=turn.by,
            holder=self._holder,
            state=State.RUNNING,
            output="",
            reason="",
            detail="",
        )
        session.add(run)
        await session.flush()
        _put(row, turn).run = run.number
        return Claim(row.id, run.number, turn.due, turn.held_until)

    async def _lose(self, session: AsyncSession, row: TaskRow, task: Task) -> None:
        """A run whose controller is gone did not end by itself."""
        now = self._clock.time()
        _close(await session.get(RunRow, row.run), LOST, now)
        _put(row, turns.interrupted(_turn(row), task.times, now))

    async def renew(self, claim: Claim) -> Claim:
        """Hold it for longer; what somebody else has, or nobody wants any more, is not held any longer."""
        until = self._clock.time() + turns.LEASE_SECONDS
        async with self._held(claim) as (_, row):
            if row is None:
                return replace(claim, until=0.0)
            row.held_until = until
        return replace(claim, until=until)

    async def finish(self, task: Task, claim: Claim, outcome: Outcome) -> None:
        """Write down how it ended, and when the next one is due."""
        now = self._clock.time()
        async with self._held(claim) as (session, row):
            _close(await session.get(RunRow, claim.run), outcome, now)
            if row is not None:  # else its plugin was removed meanwhile, or another controller made up for it
                _put(row, self._after(_turn(row), task, outcome, now))
                await self._forget(session, claim.id)

    def _after(self, turn: Turn, task: Task, outcome: Outcome, now: float) -> Turn:
        if outcome.state is State.INTERRUPTED:
            return turns.interrupted(turn, task.times, now)
        if outcome.state is State.FAILED and not outcome.final:
            return turns.failed(turn, task.times, now, retries=task.retries, dice=self._dice())
        return turns.ended(turn, task.times, now)

    @asynccontextmanager
    async def _held(self, claim: Claim) -> AsyncIterator[tuple[AsyncSession, TaskRow | None]]:
        async with self._database.writing() as session:
            mine = select(TaskRow).where(TaskRow.id == claim.id, TaskRow.run == claim.run)
            mine = mine.where(TaskRow.holder == self._holder).with_for_update()
            yield session, await session.scalar(mine)

    async def ask(self, name: str, by: str) -> None:
        """Have it run now; raises TaskNotFound, Conflict while it runs or where its plugin is suspended."""
        now = self._clock.time()
        async with self._database.writing() as session:
            row = await session.get(TaskRow, name, with_for_update=True)
            if row is None:
                raise TaskNotFound(f"there is no task {name!r}")
            if not turns.is_free(_turn(row), now):
                raise Conflict(f"{name} is running; wait for its end")
            if row.paused:
                raise Conflict(f"the plugin of {name} is suspended; resume it first")
            if row.holder:  # of a controller that is gone, and that nobody made up for yet
                return
            _put(row, turns.asked(_turn(row), by, now))

    # -- what is shown ------------------------------------------------------------------------------------------

    async def rows(self, names: Sequence[str]) -> dict[str, tuple[TaskRow, RunRow | None]]:
        """The rows of these tasks, each with its latest run."""
        found = (
            select(TaskRow, RunRow)
            .outerjoin(RunRow, TaskRow.run == RunRow.number)
            .where(TaskRow.id.in_(names))
        )
        async with self._database.reading() as session:
            return {task.id: (task, run) for task, run in await session.execute(found)}

    async def runs(self, name: str, *, before: int | None, limit: int) -> list[RunRow]:
        """Runs of a task, the newest first, those with smaller numbers than `before`."""
        found = select(RunRow).where(RunRow.task == name).order_by(RunRow.number.desc()).limit(limit)
        if before is not None:
            found = found.where(RunRow.number < before)
        async with self._database.reading() as session:
            return list(await session.scalars(found))

    async def successes(self) -> dict[str, tuple[float, float]]:
        """When the last run of each task ended that went well, and how many seconds it took."""
        well = select(func.max(RunRow.number)).where(RunRow.state == State.SUCCEEDED).group_by(RunRow.task)
        found = select(RunRow.task, RunRow.started, RunRow.ended).where(RunRow.number.in_(well))
        async with self._database.reading() as session:
            rows = (await session.execute(found)).all()
        return {row.task: (row.ended, row.ended - row.started) for row in rows if row.ended is not None}

    async def forget(self, before: float, stopping: asyncio.Event | None = None) -> int:
        """Let go of runs that ended before a time, but for the latest of each task; returns how many."""
        old = (RunRow.ended < before) & RunRow.number.not_in(select(TaskRow.run))
        return await in_pieces(self._database, oldest(RunRow.number, old, RunRow.ended), stopping=stopping)

    async def _forget(self, session: AsyncSession, name: str) -> None:
        kept = select(RunRow.number).where(RunRow.task == name).order_by(RunRow.number.desc())
        oldest = await session.scalar(kept.offset(KEPT_RUNS - 1).limit(1))
        if oldest is not None:
            await session.execute(delete(RunRow).where(RunRow.task == name, RunRow.number < oldest))


def _turn(row: TaskRow) -> Turn:
    return Turn(**{name: getattr(row, name) for name in _TURN})


def _put(row: TaskRow, turn: Turn) -> TaskRow:
    for name in _TURN:
        setattr(row, name, getattr(turn, name))
    return row


def _close(run: RunRow | None, outcome: Outcome, now: float) -> None:
    if run is None or run.state != State.RUNNING:
        return  # somebody else wrote it
    run.state, run.ended, run.output = outcome.state, now, outcome.output
    run.reason, run.detail = outcome.reason, outcome.detail


def later(one: Any, other: Any) -> Any:
    """The larger of two columns: what one calls GREATEST is MAX for the other."""
    return case((one > other, one), else_=other)
