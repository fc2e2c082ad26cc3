"""The journal: a listener of xhooks that keeps what happened in rows, for whoever asks later or follows along.

It writes beside everything else, many events at a time; requests and plugins never wait for it. While the database is away
events wait in its queue, and those the queue has no room for are counted, here and in `xcore_events_lost_total`. Where several
controllers share a database, the one that leads writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence, Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from integrations.database.database import Database
from integrations.database.pieces import in_pieces, oldest
from integrations.database.tables import EventRow
from integrations.telling import EventsLost, plain, told
from xcore.clock import Clock, SystemClock, rfc3339, sleep
from xcore.errors import Conflict, DatabaseUnavailable, StorageFull
from xcore.xhooks import LONGEST_QUEUE, Event, HookBus, Subscription

KEPT_EVENTS = 100_000
KEPT_SECONDS = 30 * 86_400.0
BATCH = 100  # more would hold the event loop for longer than a request should feel
FORGET_EVERY = 1000
WRITES_APART = 0.1
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0
LOOK_SECONDS = 5.0  # what another controller has written is found so late
_YEAR_10000 = 253_402_300_800.0
_log = logging.getLogger("xcore.journal")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: all of those that are given apply. `since`: epoch seconds; `of`: those plugins alone."""

    plugin: str | None = None
    kind: str | None = None
    since: float | None = None
    of: AbstractSet[str] | None = None

    @property
    def terms(self) -> list[ColumnElement[bool]]:
        wanted = [
            EventRow.plugin == self.plugin if self.plugin is not None else None,
            EventRow.kind == self.kind if self.kind is not None else None,
            EventRow.at >= self.since if self.since is not None else None,
            EventRow.plugin.in_(sorted(self.of)) if self.of is not None else None,
        ]
        return [term for term in wanted if term is not None]


class Journal:
    """`leads` tells whether this controller is the one that writes."""

    def __init__(
        self, bus: HookBus, database: Database, *, leads: Callable[[], bool], clock: Clock | None = None
    ) -> None:
        self._bus, self._database, self._leads = bus, database, leads
        self._clock = clock or SystemClock()
        self._events: Subscription[Event] | None = None
        self._written = asyncio.Event()  # replaced at each write
        self._since_forgetting = 0
        self.followers = 0

    # -- writing ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Listen and write, until `end` was called and everything is written."""
        with self._bus.subscribe(Event, name="journal", size=LONGEST_QUEUE) as self._events:
            lost = 0
            while batch := await self._events.batch(BATCH):
                if self._events.lost > lost:
                    batch = [EventsLost(count=self._events.lost - lost, at=batch[0].at), *batch]
                    lost = self._events.lost
                rows = [row for event in batch if (row := self._row(event)) is not None]
                if rows and self._leads():
                    await self._keep(rows)
                await sleep(self._clock, WRITES_APART)

    def end(self) -> None:
        """Have `run` write what has come up, and return."""
        if self._events is not None:
            self._events.end()

    async def _keep(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write them, as often as it takes, and once."""
        first, waiting = 0, False
        while True:
            try:
                async with self._database.writing() as session:
                    if not await _is_there(session, first, rows[0]):
                        first = (await session.scalar(select(func.max(EventRow.number))) or 0) + 1
                        await session.execute(
                            insert(EventRow),
                            [{"number": number, **row} for number, row in enumerate(rows, first)],
                        )
                break
            except (DatabaseUnavailable, StorageFull, Conflict) as error:
                if not waiting:
                    _log.warning("events wait: %s", error.detail)
                waiting = True
                await sleep(self._clock, RETRY_SECONDS)
        self._written.set()
        self._written = asyncio.Event()
        await self._forget_now_and_then(len(rows))

    def _row(self, event: Event) -> dict[str, Any] | None:
        if (own := told(event)) is None:
            return None
        at = event.at if 0 <= event.at < _YEAR_10000 else self._clock.time()  # others make events, too
        return {"at": at, "kind": event.kind[:64], "plugin": plain(event.plugin)[:320], "told": own}

    async def _forget_now_and_then(self, written: int) -> None:
        self._since_forgetting += written
        if self._since_forgetting >= FORGET_EVERY:
            try:
                await forget(self._database, self._clock.time() - KEPT_SECONDS)
            except (DatabaseUnavailable, StorageFull) as error:
                _log.debug("old events stay for now: %s", error.detail)
            self._since_forgetting = 0

    # -- reading ------------------------------------------------------------------------------------------------

    async def newest(self) -> int:
        """The number of the latest event; 0 when there is none. Raises DatabaseUnavailable."""
        return await _newest(self._database)

    async def page(
        self, wanted: Wanted, *, limit: int, before: int | None = None
    ) -> tuple[list[dict[str, Any]], bool]:
        """Give the newest first, those with lower numbers than `before`, and whether there are more."""
        terms = [*wanted.terms, *([EventRow.number < before] if before is not None else [])]
        query = select(EventRow).where(*terms).order_by(EventRow.number.desc()).limit(limit + 1)
        async with self._database.reading() as session:
            rows = list(await session.scalars(query))
        return [_shown(row) for row in rows[:limit]], len(rows) > limit

    async def follow(self, wanted: Wanted, after: int) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Yield events with higher numbers, as they are written; None when nothing came for a while. Has no end."""
        self.followers += 1
        try:
            while True:
                written = self._written
                rows, after = await self._later(wanted, after)
                for row in rows:
                    yield _shown(row)
                if len(rows) < BATCH and not await self._clock.wait(written, LOOK_SECONDS):
                    yield None
        finally:
            self.followers -= 1

    async def _later(self, wanted: Wanted, after: int) -> tuple[list[EventRow], int]:
        """Give some, and the number up to which that is all; nothing while the database is away."""
        query = select(EventRow).where(*wanted.terms, EventRow.number > after).order_by(EventRow.number)
        try:
            async with self._database.reading() as session:
                newest = await session.scalar(select(func.max(EventRow.number))) or 0
                rows = list(await session.scalars(query.limit(BATCH)))
        except DatabaseUnavailable:
            return [], after
        return rows, rows[-1].number if len(rows) == BATCH else max(after, newest)


async def forget(
    database: Database, before: float, stopping: asyncio.Event | None = None, *, keep: int | None = None
) -> int:
    """Remove events from before (epoch seconds), and all but the newest `keep` (one at least); returns how many.

    In pieces, until `stopping` is set. Raises DatabaseUnavailable, StorageFull.
    """
    newest, kept = await _newest(database), KEPT_EVENTS if keep is None else max(1, keep)
    old = (EventRow.number <= newest - kept) | ((EventRow.at < before) & (EventRow.number < newest))
    return await in_pieces(database, oldest(EventRow.number, old, EventRow.number), stopping=stopping)


async def _newest(database: Database) -> int:
    async with database.reading() as session:
        return await session.scalar(select(func.max(EventRow.number))) or 0


async def _is_there(session: AsyncSession, number: int, row: dict[str, Any]) -> bool:
    """Whether the try before, of which nobody knew, was whole: then its first row has the number it was given."""
    found = await session.get(EventRow, number) if number else None
    return found is not None and all(getattr(found, name) == value for name, value in row.items())


def _shown(row: EventRow) -> dict[str, Any]:
    return {
        "id": row.number,
        "kind": row.kind,
        "plugin": row.plugin,
        "at": rfc3339(row.at),
        **row.told,
    }
