"""How many calls there are, as of the last look, and how many of those that have ended are kept: by number and by time.

The scheduler of calls looks beside its own work, so that neither a request nor a scrape of metrics asks the database for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf

from sqlalchemy import func, select

from integrations.database.database import Database
from integrations.database.pieces import Piece, in_pieces, oldest
from integrations.database.tables_tasks import CallRow
from integrations.tasks.call import CallState
from xcore.clock import Clock
from xcore.errors import XcoreError

KEPT_ANSWERS = 10_000
KEPT_DEAD = 1_000
LOOK_SECONDS = 15.0
LOOK_AFTER = 100  # calls that have ended
FORGOTTEN_AT_ONCE = 20  # each with an answer of up to 1 MiB, which is taken off the disk with it
_ANSWERED: Sequence[CallState] = (CallState.SUCCEEDED, CallState.FAILED)
_DEAD: Sequence[CallState] = (CallState.DEAD,)
_log = logging.getLogger("xcore.tasks")


class KeptCalls:
    """`counts`: by state; None before the first look. `forget` and `forget_dead` raise DatabaseUnavailable, StorageFull."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self.counts: Mapping[str, int] | None = None
        self._looked, self._ended = -inf, 0

    def ended(self) -> None:
        """One more may be to keep."""
        self._ended += 1

    async def look(self) -> None:
        """Now and then: count them, and let go of the oldest where too many have ended. What fails is done at the next look."""
        now = self._clock.time()
        if abs(now - self._looked) < LOOK_SECONDS and self._ended < LOOK_AFTER:
            return
        self._looked, self._ended = now, 0
        try:
            counts = await self._count()
            self.counts = counts
            await self._trim(_ANSWERED, counts, KEPT_ANSWERS)
            await self._trim(_DEAD, counts, KEPT_DEAD)
        except XcoreError as error:
            _log.debug("calls that have ended stay for now: %s", error.detail)

    async def _count(self) -> Counter[str]:
        by_state = select(CallRow.state, func.count().label("number")).group_by(CallRow.state)
        async with self._database.reading() as session:
            return Counter({row.state: row.number for row in await session.execute(by_state)})

    async def _trim(self, states: Sequence[CallState], counts: Mapping[str, int], keep: int) -> None:
        """Twice as many as may have ended since the last look, at most: calls that wait are not to wait for this."""
        left = min(sum(counts[state] for state in states) - keep, 2 * LOOK_AFTER)
        piece = _oldest(states, inf)
        while left > 0:
            async with self._database.writing() as session:
                gone = await piece(session, min(left, FORGOTTEN_AT_ONCE))
            left = left - gone if gone else 0

    async def forget(self, before: float, stopping: asyncio.Event | None = None) -> int:
        """Let go of what ended before a time, but for dead letters; gives how many."""
        return await self._forget(_oldest(_ANSWERED, before), stopping)

    async def forget_dead(self, before: float, stopping: asyncio.Event | None = None) -> int:
        """Let go of dead letters that ended before a time; gives how many."""
        return await self._forget(_oldest(_DEAD, before), stopping)

    async def _forget(self, piece: Piece, stopping: asyncio.Event | None) -> int:
        return await in_pieces(self._database, piece, at_once=FORGOTTEN_AT_ONCE, stopping=stopping)


def _oldest(states: Sequence[CallState], before: float) -> Piece:
    # An expression, so that SQLite takes the index of `ended`: by that of `state` it reads all rows, whatever they hold, for each piece.
    state = CallRow.state + ""
    return oldest(CallRow.id, state.in_(states) & (CallRow.ended < before), CallRow.ended)
