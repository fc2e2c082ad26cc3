"""Letting go of many rows: in pieces, each a transaction of its own, so that none takes long and nobody waits long for one.

What is gone stays gone: where the database goes away, or the controller is to end, the rest is left for the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from integrations.database.database import Database

AT_ONCE = 1000

# Lets go of at most so many rows; gives how many.
Piece = Callable[[AsyncSession, int], Awaitable[int]]


async def in_pieces(
    database: Database, piece: Piece, *, at_once: int | None = None, stopping: asyncio.Event | None = None
) -> int:
    """Do pieces until one is not whole, or `stopping` is set; gives how many rows. Raises DatabaseUnavailable, StorageFull."""
    most, gone = at_once or AT_ONCE, 0
    while stopping is None or not stopping.is_set():
        async with database.writing() as session:
            count = await piece(session, most)
        gone += count
        if count < most:
            break
    return gone


def oldest(
    key: InstrumentedAttribute[Any], which: ColumnElement[bool], by: InstrumentedAttribute[Any]
) -> Piece:
    """Give a piece: those rows for which `which` holds, the smallest `by` first (it has an index). `key`: the primary one."""

    async def piece(session: AsyncSession, most: int) -> int:
        found = list(await session.scalars(select(key).where(which).order_by(by).limit(most)))
        # Once more, for another controller may have changed them in between.
        gone = await session.execute(delete(key.class_).where(key.in_(found), which))
        return int(gone.rowcount)  # type: ignore[attr-defined]  # of a DELETE it has one

    return piece
