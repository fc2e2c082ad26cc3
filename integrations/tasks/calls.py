"""Calls that are answered later, as rows: taken in while there is room, made, kept with their answers for a while.

This is the one way on which somebody who calls a plugin waits for the database: what was accepted is on its disk.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from integrations.database.database import Database
from integrations.database.tables_tasks import CallRow
from integrations.once import InvalidKey
from integrations.tasks import call as calls
from integrations.tasks.call import UNFINISHED, CallNotFound, CallState, Order, QueueFull, Tally, judge
from integrations.tasks.calling import Caller, Sent, Told
from integrations.tasks.kept import KeptCalls
from integrations.tasks.rows import later
from integrations.tasks.scheduler import Scheduler
from integrations.tasks.schedules import GRACE_SECONDS
from integrations.tasks.task import LOST, Claim, Outcome, Run, RunFailed
from integrations.tasks.turn import LEASE_SECONDS
from xcore.clock import Clock
from xcore.errors import Conflict, XcoreError

AT_ONCE_OF_PLUGIN = 4
_dice = random.SystemRandom().random
_FRESH: Mapping[str, Any] = {
    "state": CallState.QUEUED,
    "attempts": 0,
    "interrupted": 0,
    "holder": "",
    "held_until": 0.0,
    "media_type": "",
    "answer": b"",
    "cut": False,
    "reason": "",
    "detail": "",
}


class KeyGone(XcoreError):
    """Whoever made the call may not make it any more."""

    reason = "Unauthenticated"
    component = "client"


@dataclass(frozen=True, slots=True)
class Reach:
    """What calls need of the rest. `good`: whether a key of that id is; `plugins`: which there are, None before that is known."""

    call: Caller
    good: Callable[[str], bool]
    plugins: Callable[[], Collection[str] | None]


class Attempt:
    """One call as a job. `told`: its answer, once there is one."""

    def __init__(self, row: CallRow, reach: Reach) -> None:
        self.id, self.plugin, self.timeout = row.id, row.plugin, row.seconds + GRACE_SECONDS
        self.told: Told | None = None
        headers = tuple((str(name), str(value)) for name, value in row.headers)
        self._sent, self._seconds = Sent(row.method, row.target, headers, row.body), row.seconds
        self._caller, self._reach = row.caller, reach

    async def do(self, _: Run) -> str:
        if not self._reach.good(self._caller):
            raise KeyGone("the key it was made with is no longer good")
        self.told = await self._reach.call(self._sent, self._seconds)
        if not self.told.well:
            raise RunFailed(self.told)
        return ""


class Calls:
    """`made` counts attempts that ended, by plugin and state.

    All methods but `ended` raise DatabaseUnavailable, StorageFull.
    """

    def __init__(self, database: Database, holder: str, clock: Clock, reach: Reach) -> None:
        self._database, self._holder, self._clock, self._reach = database, holder, clock, reach
        self._making: dict[str, str] = {}  # those under way: their plugins, by id
        self.made: Counter[tuple[str, str]] = Counter()
        self.kept = KeptCalls(database, clock)
        self.scheduler = Scheduler(self, name="calls", clock=clock)

    # -- taking in ----------------------------------------------------------------------------------------------

    async def accept(self, order: Order) -> CallRow:
        """Keep it, and give its row; the same order once more, with the same key, is the same call.

        Raises QueueFull, and InvalidKey where the key was used for another one.
        """
        row = self._row(order)
        try:
            async with self._database.writing() as session:
                known = await self._known(session, row)
                if known is not None:
                    return known
                await self._demand_room(session, order.plugin)
                session.add(row)
        except Conflict:  # its twin was faster
            async with self._database.reading() as session:
                known = await self._known(session, row)
            if known is None:
                raise
            return known
        self.scheduler.poke()
        return row

    def _row(self, order: Order) -> CallRow:
        sent, now, name = order.sent, self._clock.time(), secrets.token_hex(16)
        digest = hashlib.sha256(f"{sent.method}\n{sent.target}\n".encode() + sent.body).hexdigest()
        key = order.key or name
        headers = [[*each] for each in sent.headers if each[0] != "idempotency-key"]
        return CallRow(
            id=name,
            caller=order.caller,
            key=key,
            fingerprint=digest,
            plugin=order.plugin,
            action=order.action,
            method=sent.method,
            target=sent.target,
            headers=[*headers, ["idempotency-key", key]],
            body=sent.body,
            seconds=order.seconds,
            at=now,
            ready=now,
            **_FRESH,
        )

    async def _known(self, session: AsyncSession, row: CallRow) -> CallRow | None:
        same = select(CallRow).where(CallRow.caller == row.caller, CallRow.key == row.key)
        known = await session.scalar(same)
        if known is not None and known.fingerprint != row.fingerprint:
            raise InvalidKey("this Idempotency-Key was used for another call; use a new one")
        return known

    async def _demand_room(self, session: AsyncSession, plugin: str) -> None:
        unfinished = select(func.count()).select_from(CallRow).where(CallRow.state.in_(UNFINISHED))
        of_plugin = await session.scalar(unfinished.where(CallRow.plugin == plugin)) or 0
        if of_plugin >= calls.MAX_OF_PLUGIN:
            raise QueueFull(f"{of_plugin} calls of {plugin} wait already")
        if (await session.scalar(unfinished) or 0) >= calls.MAX_UNFINISHED:
            raise QueueFull(f"{calls.MAX_UNFINISHED} calls wait already")

    # -- as work: see there -------------------------------------------------------------------------------------

    async def recover(self) -> int:
        mine = select(CallRow).where(CallRow.holder == self._holder, CallRow.state == CallState.RUNNING)
        async with self._database.writing() as session:
            lost = list(await session.scalars(mine.with_for_update()))
            for row in lost:
                self._judged(row, LOST, None)
        return len(lost)

    async def prepare(self) -> bool:
        there = self._reach.plugins()
        if there is None:  # a call would be of a plugin that there is not, and fail for good
            return False
        for plugin, state in [each for each in self.made if each[0] not in there]:
            del self.made[plugin, state]
        await self.kept.look()
        return True

    async def next_time(self, busy: Collection[str]) -> float | None:
        moment = func.min(later(CallRow.ready, CallRow.held_until))
        async with self._database.reading() as session:
            found: float | None = await session.scalar(self._waiting(select(moment), busy))
        return found

    async def claim(self, busy: Collection[str], most: int) -> Sequence[tuple[Attempt, Claim]]:
        now, busy_of = self._clock.time(), self._busy()
        ready = self._waiting(select(CallRow), busy).where(CallRow.ready <= now, CallRow.held_until <= now)
        ready = ready.order_by(CallRow.ready).limit(most).with_for_update(skip_locked=True)
        claimed: list[tuple[Attempt, Claim]] = []
        async with self._database.writing() as session:
            for row in await session.scalars(ready):
                if row.holder:
                    self._judged(row, LOST, None)
                if row.state == CallState.QUEUED and busy_of[row.plugin] < AT_ONCE_OF_PLUGIN:
                    busy_of[row.plugin] += 1
                    claimed.append(self._begin(row, now))
        self._making.update((attempt.id, attempt.plugin) for attempt, _ in claimed)
        return claimed

    def _busy(self) -> Counter[str]:
        """How many of each plugin are under way."""
        return Counter(self._making.values())

    def _begin(self, row: CallRow, now: float) -> tuple[Attempt, Claim]:
        row.state, row.attempts = CallState.RUNNING, row.attempts + 1
        row.holder, row.held_until = self._holder, now + LEASE_SECONDS
        return Attempt(row, self._reach), Claim(row.id, row.attempts, row.at, row.held_until)

    def _waiting(self, query: Any, busy: Collection[str]) -> Any:
        full = [plugin for plugin, count in self._busy().items() if count >= AT_ONCE_OF_PLUGIN]
        open_ = query.where(CallRow.state.in_(UNFINISHED))
        return open_.where(CallRow.id.not_in(busy), CallRow.plugin.not_in(full))

    async def renew(self, claim: Claim) -> Claim:
        until = self._clock.time() + LEASE_SECONDS
        async with self._database.writing() as session:
            held = await session.execute(_mine(update(CallRow), claim, self._holder).values(held_until=until))
            return replace(claim, until=until if held.rowcount else 0.0)  # type: ignore[attr-defined]  # of an UPDATE

    async def finish(self, job: Attempt, claim: Claim, outcome: Outcome) -> None:
        async with self._database.writing() as session:
            row = await session.scalar(_mine(select(CallRow), claim, self._holder).with_for_update())
            if row is not None:  # else another controller made it anew
                self._judged(row, outcome, job.told)

    def ended(self, job: Attempt, outcome: Outcome) -> None:
        self._making.pop(job.id, None)
        self.kept.ended()
        self.made[job.plugin, outcome.state] += 1

    def _judged(self, row: CallRow, outcome: Outcome, told: Told | None) -> None:
        now = self._clock.time()
        verdict = judge(outcome, told, Tally(row.attempts, row.interrupted), now=now, dice=_dice())
        row.state, row.ready, row.interrupted = verdict.state, verdict.ready, verdict.interrupted
        row.reason, row.detail = verdict.reason, verdict.detail
        row.holder, row.held_until = "", 0.0
        row.ended = None if verdict.state in UNFINISHED else now
        if told is not None:
            row.status, row.media_type = told.status, told.media_type[:255]
            row.answer, row.cut = told.body, told.cut

    # -- what is shown ------------------------------------------------------------------------------------------

    async def get(self, name: str) -> CallRow:
        """Raises CallNotFound."""
        async with self._database.reading() as session:
            row = await session.get(CallRow, name)
        if row is None:
            raise CallNotFound(f"there is no call {name[:32]!r}")
        return row

    async def latest(
        self, *, caller: str | None, state: CallState | None, before: tuple[float, str] | None, limit: int
    ) -> list[CallRow]:
        """Calls, the newest first, those before a time and id; of one caller, in one state where they are given."""
        found = select(CallRow).order_by(CallRow.at.desc(), CallRow.id.desc()).limit(limit)
        found = found.options(defer(CallRow.body), defer(CallRow.answer))
        if caller is not None:
            found = found.where(CallRow.caller == caller)
        if state is not None:
            found = found.where(CallRow.state == state)
        if before is not None:
            found = found.where(tuple_(CallRow.at, CallRow.id) < before)
        async with self._database.reading() as session:
            return list(await session.scalars(found))

    async def retry(self, name: str) -> CallRow:
        """Have a dead letter sent again, with all its attempts; raises CallNotFound, Conflict for one that is none."""
        async with self._database.writing() as session:
            row = await session.get(CallRow, name, with_for_update=True)
            if row is None:
                raise CallNotFound(f"there is no call {name[:32]!r}")
            if row.state != CallState.DEAD:
                raise Conflict(f"the call is {row.state}; only one that is Dead is sent again")
            await self._demand_room(session, row.plugin)
            row.state, row.attempts, row.interrupted = CallState.QUEUED, 0, 0
            row.ready, row.ended = self._clock.time(), None
        self.scheduler.poke()
        return row


def _mine(query: Any, claim: Claim, holder: str) -> Any:
    return query.where(CallRow.id == claim.id, CallRow.attempts == claim.run, CallRow.holder == holder)
