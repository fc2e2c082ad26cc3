"""The audit as rows: one chain, whoever writes; nothing lost and nothing twice when the database goes away."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import text

from integrations import audit as module
from integrations.audit import STRANGERS, Audit, Search, _retention
from integrations.chain import verify
from integrations.database import pieces
from xcore.errors import DatabaseUnavailable
from xcore.testing import FakeClock


def record(clock, **said):
    return replace(_retention(clock.time()), **{"by": "k1", "route": "a route", **said})


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def audit(database, clock):
    return Audit(database, clock)


async def verdict(audit):
    entries, head = await audit.page(Search(), 10_000)
    return verify(entries, head)


async def test_all_who_write_make_one_chain(database, clock):
    """Two controllers, thirty orders at once: numbers without a gap, each hash over the one before."""
    both = Audit(database, clock), Audit(database, clock)
    await asyncio.gather(*(each.append(record(clock, path=str(n))) for n in range(15) for each in both))
    judged = await verdict(both[0])
    assert (judged.problems, judged.entries, judged.newest[0]) == ([], 30, 30)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET entry = replace(entry, 'k1', 'k2') WHERE number = 2",
        "DELETE FROM audit WHERE number = 2",
        "DELETE FROM audit WHERE number = 3",
        "DELETE FROM audit WHERE number = 1",
        "UPDATE audit SET hash = repeat('0', 64) WHERE number = 2",
        "UPDATE audit_head SET number = 9",
    ],
)
async def test_tampering_is_found(audit, database, clock, tampering):
    """Whoever changes or removes a row with a tool of the database is found out."""
    for _ in range(3):
        await audit.append(record(clock))
    async with database.writing() as session:
        if database.file is not None:
            tampering = tampering.replace("repeat('0', 64)", f"'{'0' * 64}'")
        await session.execute(text(tampering))
    assert (await verdict(audit)).problems


async def test_what_is_old_is_cut_off_and_the_rest_stays_verifiable(audit, clock, monkeypatch):
    """By age, then by number; each cut is an entry, and cuts may follow one another."""
    for number in range(6):
        await audit.append(record(clock, path=str(number)))
        await clock.advance(10)
    assert await audit.forget(clock.time() - 35) == 3
    judged = await verdict(audit)
    assert (judged.problems, judged.first, judged.entries) == ([], 4, 4)
    assert await audit.forget(clock.time() - 35) == 0
    monkeypatch.setattr(module, "KEPT_ROWS", 2)
    assert await audit.forget(0.0) > 0
    judged = await verdict(audit)
    assert judged.problems == []
    await audit.append(record(clock))
    assert (await verdict(audit)).problems == []


async def test_however_many_there_are_as_many_as_are_kept_are_left(audit, clock, monkeypatch):
    """They are cut off in pieces, each an entry itself, and at every moment the rest is verifiable."""
    monkeypatch.setattr(pieces, "AT_ONCE", 4)
    monkeypatch.setattr(module, "KEPT_ROWS", 6)
    for number in range(30):
        await audit.append(record(clock, path=str(number)))
    stopping, write = asyncio.Event(), module._chained

    async def until_the_second(*entry):
        await write(*entry)
        if "through" in entry[2] and entry[2]["through"] == 8:
            stopping.set()

    monkeypatch.setattr(module, "_chained", until_the_second)
    assert await audit.forget(0.0, stopping) == 8
    judged = await verdict(audit)
    assert (judged.problems, judged.first, judged.entries) == ([], 9, 24)
    await audit.forget(0.0)
    judged = await verdict(audit)
    assert (judged.problems, judged.entries) == ([], 6)


async def test_old_entries_are_cut_off_in_one_night_whatever_their_number(audit, clock, monkeypatch):
    monkeypatch.setattr(pieces, "AT_ONCE", 4)
    for _ in range(30):
        await audit.append(record(clock))
    await clock.advance(10)
    await audit.append(record(clock, path="young"))
    assert await audit.forget(clock.time()) == 30
    entries, _ = await audit.page(Search(), 100)
    assert entries[-1]["path"] == "young"
    assert (await verdict(audit)).problems == []


async def test_entries_are_found_by_what_is_known_of_them(audit, clock):
    """By key, plugin, result and time, in pages."""
    began = clock.time()
    for number in range(10):
        who, result = f"k{number % 2}", "Refused" if number < 4 else "Done"
        await audit.append(record(clock, by=who, plugin=f"p{number % 5}", result=result))
        await clock.advance(1)

    async def numbers(**search):
        return [entry["number"] for entry in (await audit.page(Search(**search), 4))[0]]

    assert await numbers() == [10, 9, 8, 7]
    assert await numbers(before=7) == [6, 5, 4, 3]
    assert await numbers(by="k0") == [9, 7, 5, 3]
    assert await numbers(by="k0", plugin="p2") == [3]
    assert await numbers(result="Refused") == [4, 3, 2, 1]
    assert await numbers(since=began + 2, until=began + 5) == [5, 4, 3]
    assert await numbers(by="' OR 1=1 --") == []


class Failing:
    """A database that goes away before, or while, it commits."""

    def __init__(self, real):
        self.real, self.fails = real, ""

    @asynccontextmanager
    async def reading(self):
        if self.fails:
            raise DatabaseUnavailable("away")
        async with self.real.reading() as session:
            yield session

    @asynccontextmanager
    async def writing(self):
        if self.fails == "before":
            raise DatabaseUnavailable("away")
        async with self.real.writing() as session:
            yield session
        if self.fails == "after":
            raise DatabaseUnavailable("away")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_was_done_when_the_database_went_away_is_recorded_once(database, clock, when):
    """Nothing more is taken until it is; whether or not it was written before the connection was lost."""
    failing = Failing(database)
    audit = Audit(failing, clock)
    failing.fails = when
    with pytest.raises(DatabaseUnavailable):
        await audit.append(record(clock, path="/held"))
    with pytest.raises(DatabaseUnavailable):
        await audit.demand()
    failing.fails = ""
    await audit.demand()
    await audit.append(record(clock, path="/next"))
    entries, _ = await audit.page(Search(), 10)
    assert [entry["path"] for entry in entries] == ["/next", "/held"]
    assert (await verdict(audit)).problems == []


async def test_strangers_do_not_fill_it(audit, clock):
    """A flood of refusals is counted in the next entry; room comes back with time."""
    for _ in range(STRANGERS + 40):
        await audit.refused(record(clock, by=""))
    await audit.append(record(clock))
    entries, _ = await audit.page(Search(), 1000)
    assert (len(entries), entries[0]["omitted"]) == (STRANGERS + 1, 40)
    await clock.advance(2)
    for _ in range(5):
        await audit.refused(record(clock, by=""))
    entries, _ = await audit.page(Search(), 1000)
    assert len(entries) == STRANGERS + 3
    assert (await verdict(audit)).problems == []
