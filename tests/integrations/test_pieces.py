"""Many rows are let go of in pieces, and what is gone stays gone."""

import asyncio
import contextlib

import pytest
from sqlalchemy import insert, select, text

from integrations.database import pieces
from integrations.database.address import address
from integrations.database.database import Database
from integrations.database.pieces import in_pieces, oldest
from integrations.database.tables import Base, EventRow
from integrations.database.tables_keys import KeyRow
from integrations.database.tables_tasks import CallRow, RunRow
from integrations.keyring import KeyRing
from integrations.tasks import kept
from integrations.tasks.kept import KeptCalls
from integrations.tasks.rows import TaskRows
from xcore.errors import DatabaseUnavailable
from xcore.testing import FakeClock


class Counted:
    """A database that counts transactions; `then` is called with the number of each when it is done."""

    def __init__(self, database):
        self._database, self.writes, self.then = database, 0, lambda _: None

    @contextlib.asynccontextmanager
    async def writing(self):
        async with self._database.writing() as session:
            yield session
        self.writes += 1
        self.then(self.writes)


@pytest.fixture
async def counted(database):
    async with database.writing() as session:
        rows = [{"number": n, "at": float(100 - n), "kind": "k", "plugin": "", "told": {}} for n in range(25)]
        await session.execute(insert(EventRow), rows)
    return Counted(database)


async def left(database):
    async with database.reading() as session:
        return sorted(await session.scalars(select(EventRow.number)))


def small(number=20):
    return oldest(EventRow.number, EventRow.number < number, EventRow.at)


async def test_each_piece_is_a_transaction_of_its_own(counted, database):
    assert await in_pieces(counted, small(), at_once=8) == 20
    assert counted.writes == 3
    assert await left(database) == [20, 21, 22, 23, 24]


async def test_nothing_is_left_of_what_fits_exactly(counted):
    assert await in_pieces(counted, small(16), at_once=8) == 16
    assert await in_pieces(counted, small(16), at_once=8) == 0


async def test_the_end_of_the_controller_leaves_the_rest_for_the_next_time(counted, database):
    stopping = asyncio.Event()
    counted.then = lambda number: stopping.set() if number == 2 else None
    assert await in_pieces(counted, small(), at_once=5, stopping=stopping) == 10
    assert await left(database) == [*range(10), *range(20, 25)]


async def test_what_fails_takes_back_nothing_of_what_is_gone(counted, database):
    def away(number):
        if number == 2:
            raise DatabaseUnavailable("away")

    counted.then = away
    with pytest.raises(DatabaseUnavailable):
        await in_pieces(counted, small(), at_once=5)
    assert await left(database) == [*range(10), *range(20, 25)]


async def test_a_piece_is_small_where_nothing_else_is_said(counted, monkeypatch):
    monkeypatch.setattr(pieces, "AT_ONCE", 4)
    assert await in_pieces(counted, small()) == 20
    assert counted.writes == 6


# What a row must have and this test says nothing of.
ANYTHING = {int: 0, float: 1.0, str: "", bytes: b"", bool: False, dict: {}}
SLOW = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN OLD; END $$",
    "CREATE TRIGGER slow BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION slow()",
)
KINDS = {
    "runs": (RunRow, {}, lambda database: TaskRows(database, "a", FakeClock()).forget),
    "calls": (CallRow, {"state": "Succeeded"}, lambda database: KeptCalls(database, FakeClock()).forget),
    "dead": (CallRow, {"state": "Dead"}, lambda database: KeptCalls(database, FakeClock()).forget_dead),
    "keys": (KeyRow, {"revoked": 1.0}, lambda database: KeyRing(database, None, FakeClock()).forget),
}


def _row(table: type[Base], number, said):
    row = {
        column.name: ANYTHING.get(column.type.python_type, [])
        for column in table.__table__.columns
        if not column.nullable
    }
    unique = {"id": f"{number}", "key": f"{number}", "digest": f"{number}", "number": number, "ended": 1.0}
    return {**row, **{name: unique[name] for name in unique if hasattr(table, name)}, **said}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_table_of_any_size_is_let_go_of_in_the_time_a_statement_has(
    kind, postgresql_url, monkeypatch
):
    """Forty rows that take 0.05 s each, where a statement has 0.7 s."""
    monkeypatch.setattr(pieces, "AT_ONCE", 5)
    monkeypatch.setattr(kept, "FORGOTTEN_AT_ONCE", 5)
    table, said, forget = KINDS[kind]
    async with Database(address(postgresql_url, None)) as database:
        async with database.writing() as session:
            await session.execute(insert(table), [_row(table, number, said) for number in range(40)])
            for statement in SLOW:
                await session.execute(text(statement.format(table=table.__tablename__)))
        assert await forget(database)(2.0) == 40
