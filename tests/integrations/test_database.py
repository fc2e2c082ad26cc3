"""The database seam: transactions that are whole or not there, on SQLite and on PostgreSQL alike."""

import pytest
from sqlalchemy import select

from integrations.database.tables import PluginRow
from xcore.errors import Conflict


async def names(database):
    async with database.reading() as session:
        return list(await session.scalars(select(PluginRow.name).order_by(PluginRow.name)))


def row(name):
    return PluginRow(name=name, uid="0" * 8, wanted=1)


async def test_what_was_written_is_read(database):
    """A block that ended has written all it added."""
    async with database.writing() as session:
        session.add_all([row("a"), row("b")])
    assert await names(database) == ["a", "b"]


async def test_a_block_left_by_an_error_wrote_nothing(database):
    """What was added before an error is not there after it, also when it was sent already."""
    block = database.writing()
    session = await block.__aenter__()
    session.add(row("a"))
    await session.flush()
    assert not await block.__aexit__(ValueError, ValueError(), None)
    assert await names(database) == []


async def test_the_same_key_twice_is_a_conflict(database):
    """Who writes a key that is there is told Conflict, in a sentence of ours."""
    async with database.writing() as session:
        session.add(row("a"))
    with pytest.raises(Conflict, match="somebody else"):
        async with database.writing() as session:
            session.add(row("a"))
    assert await names(database) == ["a"]
