"""Keys that were made: rows of the database, and in memory what a gate needs of them.

Every controller on a database looks once a second whether keys were changed, and reads all of them when they were. While
the database is away, keys that are known go on working for a day; none is made or revoked.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from sqlalchemy import ColumnElement, func, or_, select, update

from integrations import keys
from integrations.database.database import Database
from integrations.database.pieces import in_pieces, oldest
from integrations.database.tables_keys import KeyChangeRow, KeyRow
from integrations.gate import Gate
from integrations.grants import Grant, Role
from integrations.newkey import NewKey
from xcore.clock import Clock, SystemClock
from xcore.errors import Conflict, NotFound, PreconditionFailed, XcoreError

LOOK_SECONDS = 1.0
STALE_SECONDS = 24 * 3600.0
MAX_KEYS = 10_000
_SHOWN = len(keys.PREFIX) + 8  # of a key, to tell it from others


class KeyNotFound(NotFound):
    reason = "KeyNotFound"


@dataclass(frozen=True, slots=True)
class Wish:
    """A key that is to be made. `expires`: seconds since 1970; `mark`: of the request, "" without an Idempotency-Key."""

    said: NewKey
    expires: float | None
    by: str
    mark: str = ""


def version(row: KeyRow) -> str:
    """What `If-Match` compares."""
    return f"{row.id}-{1 if row.revoked is None else 2}"


class KeyRing:
    """`gate` is told of every change; None with authentication off. Every method but `follow` raises DatabaseUnavailable."""

    def __init__(self, database: Database, gate: Gate | None, clock: Clock | None = None) -> None:
        self._database, self._gate, self._clock = database, gate, clock or SystemClock()
        self._number = -1
        self._grants: Sequence[Grant] = ()
        self._next_end = inf
        self._read = -inf

    # -- orders -------------------------------------------------------------------------------------------------

    async def create(self, wish: Wish) -> tuple[KeyRow, str | None]:
        """Make a key; gives its text, once: None where this very request has made it before. Raises Conflict."""
        text = keys.made()
        row = self._row(wish, text)
        async with self._database.writing() as session:
            # First of all, so that others wait here and the count below is true.
            await session.execute(update(KeyChangeRow).values(number=KeyChangeRow.number + 1))
            known = (
                await session.scalar(select(KeyRow).where(KeyRow.mark == wish.mark)) if wish.mark else None
            )
            if known is not None:
                return known, None
            good = await session.scalar(select(func.count()).select_from(KeyRow).where(self._is_good()))
            if (good or 0) >= MAX_KEYS:
                raise Conflict(f"there are {MAX_KEYS} keys already; revoke those that nobody uses")
            session.add(row)
        await self.refresh()
        return row, text

    async def revoke(self, key: str, by: str, match: frozenset[str] | None) -> KeyRow:
        """End a key, also where it had ended; raises KeyNotFound, PreconditionFailed."""
        async with self._database.writing() as session:
            await session.execute(update(KeyChangeRow).values(number=KeyChangeRow.number + 1))
            row = _there(await session.get(KeyRow, key), key)
            if match is not None and not match & {"*", version(row)}:
                raise PreconditionFailed(f"key {key} was revoked since it was read")
            if row.revoked is None:
                row.revoked, row.revoked_by = self._clock.time(), by
        await self.refresh()
        return row

    async def forget(self, before: float, stopping: asyncio.Event | None = None) -> int:
        """Remove the rows of keys that had ended then (seconds since 1970); gives how many."""
        ended = or_(KeyRow.revoked < before, KeyRow.expires < before)
        return await in_pieces(self._database, oldest(KeyRow.id, ended, KeyRow.id), stopping=stopping)

    async def ending(self, before: float, most: int) -> Sequence[KeyRow]:
        """Give keys that are good and will have ended then (seconds since 1970), the first to end first."""
        async with self._database.reading() as session:
            ending = select(KeyRow).where(self._is_good(), KeyRow.expires < before)
            return (await session.scalars(ending.order_by(KeyRow.expires).limit(most))).all()

    # -- looking ------------------------------------------------------------------------------------------------

    async def page(self, after: str, limit: int) -> Sequence[KeyRow]:
        """Give up to `limit` keys in the order they were made, those after an id."""
        async with self._database.reading() as session:
            wanted = select(KeyRow).where(KeyRow.id > after).order_by(KeyRow.id).limit(limit)
            return (await session.scalars(wanted)).all()

    async def get(self, key: str) -> KeyRow:
        """Give one; raises KeyNotFound."""
        async with self._database.reading() as session:
            return _there(await session.get(KeyRow, key), key)

    # -- what the gate knows ------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Have the gate know what the rows say, until cancelled."""
        while True:
            try:
                await self.refresh()
            except XcoreError:
                if self._clock.time() - self._read > STALE_SECONDS:
                    self._number, self._grants = -1, ()
                    self._tell(())
            await asyncio.sleep(LOOK_SECONDS)

    async def refresh(self) -> None:
        """Look whether keys were changed, and tell the gate when they were or one has ended."""
        now = self._clock.time()
        async with self._database.reading() as session:
            number = await session.scalar(select(KeyChangeRow.number)) or 0
            if number != self._number:
                rows = (await session.scalars(select(KeyRow).where(self._is_good()))).all()
                self._grants, self._number = [_grant(row) for row in rows], number
                self._tell(self._grants)
        self._read = now
        if now >= self._next_end:
            self._tell(self._grants)

    def _tell(self, grants: Sequence[Grant]) -> None:
        now = self._clock.time()
        self._next_end = min((grant.expires for grant in grants if grant.expires > now), default=inf)
        if self._gate is not None:
            self._gate.replace(grants)

    def _is_good(self) -> ColumnElement[bool]:
        return KeyRow.revoked.is_(None) & (KeyRow.expires.is_(None) | (KeyRow.expires > self._clock.time()))

    def _row(self, wish: Wish, text: str) -> KeyRow:
        said, now = wish.said, self._clock.time()
        return KeyRow(
            id=f"{int(now * 1000):012x}{secrets.token_hex(4)}",
            digest=keys.digest(text).hex(),
            prefix=text[:_SHOWN],
            name=said.name,
            role=said.role.value,
            plugins=list(said.plugins) if said.plugins is not None else None,
            actions=list(said.actions) if said.actions is not None else None,
            scopes=list(said.scopes),
            at=now,
            by=wish.by,
            expires=wish.expires,
            revoked=None,
            revoked_by="",
            mark=wish.mark or None,
        )


def _there(row: KeyRow | None, key: str) -> KeyRow:
    if row is None:
        raise KeyNotFound(f"there is no key {key}")
    return row


def _grant(row: KeyRow) -> Grant:
    return Grant(
        row.id,
        Role(row.role),
        bytes.fromhex(row.digest),
        name=row.name,
        prefix=row.prefix,
        plugins=frozenset(row.plugins) if row.plugins is not None else None,
        actions=frozenset(row.actions) if row.actions is not None else None,
        scopes=frozenset(row.scopes),
        expires=inf if row.expires is None else row.expires,
    )
