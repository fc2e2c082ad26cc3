"""Plugins as rows: whole or not at all, told from an earlier one of the name, read from memory, and never gone for being unknown."""

import asyncio
import contextlib

import pytest
from sqlalchemy import text

from integrations.database.address import address
from integrations.database.database import Database
from integrations.ledger import WAITING, RowLedger
from tests.support import document, until
from xcore.bundle import Snapshots
from xcore.errors import DatabaseUnavailable
from xcore.ledger import KEPT_REVISIONS, Kept, Overtaken


def kept(number, *, name="hello", digest="", request=""):
    return Kept(number, document(name), digest, "me", "2026-11-23T16:00:00Z", "create", request=request)


@contextlib.asynccontextmanager
async def followed(database, directory, **options):
    ledger = RowLedger(database, Snapshots(directory / "snapshots"), **options)
    ledger.told = []
    async with ledger.follow(lambda: ledger.told.append("changed")):
        yield ledger


@pytest.fixture
async def ledger(database, tmp_path):
    async with followed(database, tmp_path) as made:
        yield made


async def numbers(ledger, name="hello"):
    shelved = await ledger.read(name)
    return None if shelved is None else [each.number for each in shelved.revisions]


async def test_what_was_put_is_read_again_by_the_next_controller(ledger, database, tmp_path):
    """Every field of a revision comes back from the rows as it was."""
    await ledger.put("hello", kept(1, request="mark"), None)
    async with followed(database, tmp_path) as next_one:
        assert await next_one.read("hello") == await ledger.read("hello")
        assert (await next_one.read("hello")).newest == kept(1, request="mark")


async def test_the_last_ten_revisions_are_kept(ledger, database, tmp_path):
    """The oldest goes with the eleventh, in memory and in the rows."""
    known = None
    for number in range(1, KEPT_REVISIONS + 3):
        await ledger.put("hello", kept(number), known)
        known = await ledger.read("hello")
    expected = list(range(3, KEPT_REVISIONS + 3))
    assert await numbers(ledger) == expected
    async with followed(database, tmp_path) as next_one:
        assert await numbers(next_one) == expected


async def test_deleted_it_leaves_no_row(ledger, database):
    """Revisions go with their plugin."""
    await ledger.put("hello", kept(1), None)
    await ledger.delete("hello", await ledger.read("hello"))
    async with database.reading() as session:
        assert (await session.execute(text("SELECT count(*) FROM revisions"))).scalar() == 0
    assert await ledger.read("hello") is None


async def test_who_read_it_before_somebody_else_changed_it_is_overtaken(ledger, database, tmp_path):
    """Making, changing and deleting from an old reading are refused, and what was written meanwhile is seen."""
    async with followed(database, tmp_path) as other:
        await other.put("hello", kept(1), None)
        with pytest.raises(Overtaken):
            await ledger.put("hello", kept(1), None)
        first = await ledger.read("hello")
        await other.put("hello", kept(2), await other.read("hello"))
        with pytest.raises(Overtaken):
            await ledger.put("hello", kept(2), first)
        assert await numbers(ledger) == [1, 2]
        with pytest.raises(Overtaken):
            await ledger.delete("hello", first)
        await other.delete("hello", await other.read("hello"))
        await other.put("hello", kept(1), None)
        with pytest.raises(Overtaken):  # another plugin of the same name
            await ledger.put("hello", kept(3), await ledger.read("hello"))


async def test_before_the_database_was_read_what_ran_before_is_waited_for(
    postgresql_url, postgresql, tmp_path
):
    """A server that is away at the start: plugins of an earlier controller are declared as pending, and no code is collected;
    orders are refused. When it is back they are what the rows say, and that is told.
    """
    with postgresql.away():
        async with (
            Database(address(postgresql_url, tmp_path)) as database,
            followed(database, tmp_path, remembered=["api/hello"]) as ledger,
        ):
            [declared] = ledger.scan()
            assert (declared.folder, declared.pending, declared.manifest) == ("api/hello", WAITING, None)
            assert ledger.collect(frozenset()) == []
            with pytest.raises(DatabaseUnavailable):
                await ledger.read("hello")
            postgresql.start()
            await until(lambda: ledger.told, what="the rows")
            assert ledger.scan() == []
            await ledger.put("hello", kept(1), None)


async def test_read_stays_possible_while_the_database_is_away(postgresql_url, postgresql, tmp_path):
    """What was read once is read on; what would be written is refused, and changes nothing."""
    async with (
        Database(address(postgresql_url, tmp_path)) as database,
        followed(database, tmp_path) as ledger,
    ):
        await ledger.put("hello", kept(1), None)
        with postgresql.away():
            with pytest.raises(DatabaseUnavailable):
                await ledger.put("hello", kept(2), await ledger.read("hello"))
            assert await numbers(ledger) == [1]
        await until(lambda: database.away is None, what="the database")
        await ledger.put("hello", kept(2), await ledger.read("hello"))
        assert await numbers(ledger) == [1, 2]


async def test_a_change_whose_fate_is_unknown_is_read_again(ledger, database, monkeypatch):
    """The connection is lost after the commit: the order is refused, and soon what it did is seen all the same."""

    @contextlib.asynccontextmanager
    async def lost_at_the_end():
        async with type(database).writing(database) as session:
            yield session
        raise DatabaseUnavailable("the connection was lost")

    monkeypatch.setattr(database, "writing", lost_at_the_end)
    with pytest.raises(DatabaseUnavailable):
        await ledger.put("hello", kept(1, request="mark"), None)
    await until(lambda: ledger.told, what="what was written")
    assert (await ledger.read("hello")).newest.request == "mark"


async def test_a_reading_that_is_older_than_a_change_does_not_hide_it(ledger, database, monkeypatch):
    """While all rows are read something is written: what is seen in the end is the newer."""
    reading, written = asyncio.Event(), asyncio.Event()
    plain = type(database).reading

    @contextlib.asynccontextmanager
    async def slow():
        async with plain(database) as session:
            await session.execute(text("SELECT count(*) FROM plugins"))
            yield session
            reading.set()
            await written.wait()

    monkeypatch.setattr(database, "reading", slow)
    ledger._outdated.set()
    await reading.wait()
    await ledger.put("hello", kept(1), None)
    written.set()
    await until(lambda: len(ledger.told) > 1, what="the second reading")
    assert await numbers(ledger) == [1]
