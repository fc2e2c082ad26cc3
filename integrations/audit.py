"""The audit: who wanted to change what, when, from where, and what came of it. Rows of the database, chained by their hashes.

Nothing is changed while it cannot be recorded, and nothing is acknowledged before it is: an order is refused while the database
is away, and its answer waits for the record. What was carried out when the database went away is held here, and recorded first when it
is back.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from integrations.chain import canonical, digest
from integrations.database.database import Database
from integrations.database.pieces import in_pieces
from integrations.database.tables_audit import AuditHeadRow, AuditRow
from xcore.clock import Clock, SystemClock, rfc3339
from xcore.errors import XcoreError

KEPT_ROWS = 1_000_000
RETRY_SECONDS = 1.0
# Refusals of those nobody knows: so many at once, and one more a second; others are counted and not recorded.
STRANGERS = 60


@dataclass(frozen=True, slots=True)
class Record:
    """One order as it is recorded. `by`: the id of a key, "" of nobody known; `status` as in HTTP; `omitted`: refusals before it that are not."""

    by: str
    role: str
    key: str
    address: str
    method: str
    route: str
    path: str
    plugin: str
    created: str
    status: int
    result: str
    reason: str
    request_id: str
    seconds: float
    at: float
    mark: str = field(default_factory=lambda: secrets.token_hex(16))

    def entry(self) -> dict[str, Any]:
        """What the chain holds of it."""
        told = {name: value for name, value in asdict(self).items() if name not in {"mark", "request_id"}}
        return {
            **told,
            "requestId": self.request_id,
            "at": rfc3339(self.at),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; "" and None: anything. `before`: numbers below it, 0 for all."""

    by: str = ""
    plugin: str = ""
    result: str = ""
    since: float | None = None
    until: float | None = None
    before: int = 0

    def statement(self) -> Select[AuditRow]:
        found = select(AuditRow).order_by(AuditRow.number.desc())
        for column, value in (
            (AuditRow.by, self.by),
            (AuditRow.plugin, self.plugin),
            (AuditRow.result, self.result),
        ):
            found = found.where(column == value) if value else found
        found = found.where(AuditRow.at >= self.since) if self.since is not None else found
        found = found.where(AuditRow.at < self.until) if self.until is not None else found
        return found.where(AuditRow.number < self.before) if self.before else found


class Audit:
    """One per controller; all on a database make one chain."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database, self._clock = database, clock or SystemClock()
        self._held: list[tuple[Record, int]] = []  # at most the orders under way: no other is taken meanwhile
        self._in_doubt = False  # whether what is held was written already, when the connection was lost
        self._one_at_a_time = asyncio.Lock()
        self._strangers, self._omitted = 0.0, 0

    # -- recording ----------------------------------------------------------------------------------------------

    async def demand(self) -> None:
        """Return if an order can be recorded now; raises DatabaseUnavailable, StorageFull."""
        if self._held:
            await self.flush()
        async with self._database.reading() as session:
            await session.execute(select(AuditHeadRow.number))

    async def append(self, record: Record) -> None:
        """Return when it is recorded; raises DatabaseUnavailable, StorageFull where it is held instead."""
        self._hold(record)
        await self.flush()

    async def refused(self, record: Record) -> None:
        """Record that somebody unknown was refused, as far as there is room for such; no more than that is done about it."""
        now = self._clock.time()
        self._strangers = max(self._strangers, now - STRANGERS)
        if self._strangers + 1 > now or self._held:
            self._omitted += 1
            return
        self._strangers += 1
        item = self._hold(record)
        try:
            await self.flush()
        except XcoreError:
            if item in self._held:  # or another flush wrote it meanwhile
                self._held.remove(item)
                self._omitted += 1 + item[1]

    def _hold(self, record: Record) -> tuple[Record, int]:
        item, self._omitted = (record, self._omitted), 0
        self._held.append(item)
        return item

    async def flush(self) -> None:
        """Write what is held; raises DatabaseUnavailable, StorageFull."""
        async with self._one_at_a_time:
            batch = list(self._held)
            if not batch:
                return
            in_doubt, self._in_doubt = self._in_doubt, True
            async with self._database.writing() as session:
                await self._write(session, batch, in_doubt=in_doubt)
            self._in_doubt = False
            self._held = [item for item in self._held if item not in batch]

    async def follow(self) -> None:
        """Write what is held when the database is back, until cancelled."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self.flush()
            except XcoreError:
                continue

    async def _write(
        self, session: AsyncSession, batch: Sequence[tuple[Record, int]], *, in_doubt: bool
    ) -> None:
        marks = [record.mark for record, _ in batch]
        known = (
            set(await session.scalars(select(AuditRow.mark).where(AuditRow.mark.in_(marks))))
            if in_doubt
            else ()
        )
        for record, omitted in batch:
            if record.mark not in known:
                extra = {"omitted": omitted} if omitted else {}
                await _chained(session, record, {**record.entry(), **extra})

    # -- reading ------------------------------------------------------------------------------------------------

    async def page(self, search: Search, limit: int) -> tuple[list[dict[str, Any]], tuple[int, str]]:
        """Give up to `limit` entries with their hashes, the newest first, and number and hash of the chain's end."""
        async with self._database.reading() as session:
            head = (await session.scalars(select(AuditHeadRow))).one()
            rows = await session.scalars(search.statement().limit(limit))
            return [{**json.loads(row.entry), "hash": row.hash} for row in rows], (head.number, head.hash)

    # -- retention ----------------------------------------------------------------------------------------------

    async def forget(self, before: float, stopping: asyncio.Event | None = None) -> int:
        """Cut off what is older (seconds since 1970), and beyond the newest million. Gives how many.

        In pieces: an entry in the same transaction says of each what was cut off, so that the chain is whole at every moment.
        """

        async def piece(session: AsyncSession, most: int) -> int:
            return await _cut(session, before, most, _retention(self._clock.time()))

        return await in_pieces(self._database, piece, stopping=stopping)


async def _cut(session: AsyncSession, before: float, most: int, record: Record) -> int:
    """Cut off at most so many. Whoever appends waits meanwhile: only those few are looked at."""
    locked = update(AuditHeadRow).values(id=1).returning(AuditHeadRow.number)
    head = (await session.execute(locked)).scalar_one()
    first = await session.scalar(select(func.min(AuditRow.number))) or 0
    furthest = min(first + most, head)  # the entry at the end of the chain is never cut off
    young = select(func.min(AuditRow.number)).where(AuditRow.number < furthest, AuditRow.at >= before)
    begin = max(await session.scalar(young) or furthest, head + 2 - KEPT_ROWS)  # room for the entry below
    cut = select(AuditRow).where(AuditRow.number < min(begin, furthest))
    last = await session.scalar(cut.order_by(AuditRow.number.desc()).limit(1))
    if last is None:
        return 0
    await session.execute(delete(AuditRow).where(AuditRow.number <= last.number))
    await _chained(session, record, {**record.entry(), "through": last.number, "cut": last.hash})
    return last.number - first + 1


async def _chained(session: AsyncSession, record: Record, entry: dict[str, Any]) -> None:
    # Changed first, so that whoever appends elsewhere waits.
    changed = update(AuditHeadRow).values(number=AuditHeadRow.number + 1)
    returned = changed.returning(AuditHeadRow.number, AuditHeadRow.hash)
    number, previous = (await session.execute(returned)).one()
    text = canonical({**entry, "number": number, "previous": previous})
    await session.execute(update(AuditHeadRow).values(hash=digest(text)))
    session.add(
        AuditRow(
            number=number,
            at=record.at,
            by=record.by,
            plugin=record.plugin,
            result=record.result,
            entry=text,
            hash=digest(text),
            mark=record.mark,
        )
    )
    await session.flush()


def _retention(at: float) -> Record:
    return Record(
        by="xcore",
        role="",
        key="",
        address="",
        method="",
        route="retention",
        path="",
        plugin="",
        created="",
        status=0,
        result="Done",
        reason="",
        request_id="",
        seconds=0.0,
        at=at,
    )
