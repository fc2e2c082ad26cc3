"""Calls that have ended are kept within bounds, and how many there are is known without asking for it."""

import contextlib

import pytest
from sqlalchemy import insert, select

from integrations.database.tables_tasks import CallRow
from integrations.tasks import kept as module
from integrations.tasks.call import CallState
from integrations.tasks.kept import LOOK_AFTER, LOOK_SECONDS, KeptCalls
from xcore.errors import DatabaseUnavailable
from xcore.testing import FakeClock


def row(name, state, ended=None):
    texts = (
        "fingerprint",
        "plugin",
        "action",
        "method",
        "target",
        "holder",
        "media_type",
        "reason",
        "detail",
    )
    return {
        **dict.fromkeys(texts, ""),
        **dict.fromkeys(("seconds", "at", "ready", "held_until"), 0.0),
        **dict.fromkeys(("attempts", "interrupted"), 1),
        **dict.fromkeys(("body", "answer"), b""),
        **dict.fromkeys(("id", "key", "caller"), name),
        "headers": [],
        "cut": False,
        "state": state,
        "ended": ended,
    }


@pytest.fixture
def add(database):
    async def add(*rows):
        async with database.writing() as session:
            await session.execute(insert(CallRow), rows)

    return add


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def calls(database, clock, monkeypatch):
    monkeypatch.setattr(module, "KEPT_ANSWERS", 5)
    monkeypatch.setattr(module, "KEPT_DEAD", 2)
    monkeypatch.setattr(module, "FORGOTTEN_AT_ONCE", 3)
    return KeptCalls(database, clock)


async def names(database):
    async with database.reading() as session:
        return set(await session.scalars(select(CallRow.id)))


async def test_of_what_has_ended_the_oldest_goes_first(calls, database, add):
    """Dead letters are counted apart: no number of answers drives them out. What waits stays."""
    await add(*(row(f"a{n}", (CallState.SUCCEEDED, CallState.FAILED)[n % 2], 100.0 - n) for n in range(12)))
    await add(*(row(f"d{n}", CallState.DEAD, float(n)) for n in range(4)))
    await add(*(row(f"w{n}", CallState.QUEUED) for n in range(8)), row("r", CallState.RUNNING))
    await calls.look()
    waiting = {f"w{n}" for n in range(8)} | {"r"}
    assert await names(database) == {"a0", "a1", "a2", "a3", "a4", "d2", "d3"} | waiting


async def test_how_many_there_are_is_known_after_a_look(calls, add, clock):
    """By state. The next look is after a while, or when many have ended."""
    assert calls.counts is None
    await add(row("q", CallState.QUEUED), row("d", CallState.DEAD, 1.0))
    await calls.look()
    assert calls.counts == {"Queued": 1, "Dead": 1}
    await add(row("q2", CallState.QUEUED))
    await calls.look()
    assert calls.counts["Queued"] == 1
    for _ in range(LOOK_AFTER):
        calls.ended()
    await calls.look()
    assert calls.counts["Queued"] == 2
    await add(row("q3", CallState.QUEUED))
    await clock.advance(LOOK_SECONDS)
    await calls.look()
    assert calls.counts["Queued"] == 3


async def test_a_great_number_is_let_go_of_look_by_look(calls, database, add, monkeypatch):
    """So that calls that wait do not wait for it."""
    monkeypatch.setattr(module, "LOOK_AFTER", 4)
    await add(*(row(f"a{n}", CallState.SUCCEEDED, float(n)) for n in range(20)))
    left = []
    for _ in range(4):
        await calls.look()
        left.append(len(await names(database)))
        for _ in range(4):
            calls.ended()
    assert left == [12, 5, 5, 5]


async def test_a_database_that_is_away_holds_up_no_call(clock):
    class Away:
        @contextlib.asynccontextmanager
        async def reading(self):
            raise DatabaseUnavailable("away")
            yield

    calls = KeptCalls(Away(), clock)
    await calls.look()
    assert calls.counts is None
