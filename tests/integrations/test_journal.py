"""The journal keeps what happened, in its order and once; it never waits for the database, and says what it lost."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given, strategies as st

from integrations import journal as module
from integrations.database import pieces
from integrations.database.address import address
from integrations.database.database import Database
from integrations.journal import Journal, Wanted, forget
from integrations.telling import MAX_TEXT, kinds, plain, told
from xcore.clock import SystemClock
from xcore.errors import DatabaseUnavailable, StorageFull
from xcore.testing import FakeClock
from xcore.xhooks import (
    LONGEST_QUEUE,
    Event,
    HookBus,
    InstanceExited,
    ManagerStarting,
    PluginRefused,
    PluginRemoved,
    StatusChanged,
)

SECONDS = 20


def gone(plugin, at=1000.0):
    return PluginRemoved(plugin=plugin, before={"conditions": []}, at=at)


def status(reason, *, restarts=0):
    ready = {"type": "Ready", "status": "False", "reason": reason, "message": "", "lastTransitionTime": "x"}
    other = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
    counted = {"count": restarts, "inWindow": 1, "lastReason": "Error", "lastExitCode": 3}
    return {"conditions": [ready, other], "restarts": counted}


class Gate:
    """The database as the journal sees it; `error` is what its next transactions raise, after the commit where `late`."""

    def __init__(self, database):
        self._database, self.error, self.late = database, None, False
        self.reading = database.reading

    @contextlib.asynccontextmanager
    async def writing(self):
        if self.error is not None and not self.late:
            raise self.error
        async with self._database.writing() as session:
            yield session
        if self.error is not None:
            raise self.error


class Desk:
    def __init__(self, database, clock=None):
        self.bus, self.gate, self.leading = HookBus(), Gate(database), True
        self.journal = Journal(self.bus, self.gate, leads=lambda: self.leading, clock=clock)

    async def page(self, wanted=None, **options):
        items, _ = await self.journal.page(wanted or Wanted(), **{"limit": 500, **options})
        return items

    async def plugins(self):
        return [item["plugin"] for item in await self.page()]

    async def written(self, count):
        async with asyncio.timeout(SECONDS):
            while not await self.has(count):
                await asyncio.sleep(0.01)

    async def has(self, count):
        with contextlib.suppress(DatabaseUnavailable):  # on a busy machine
            return len(await self.page()) >= count
        return False


@contextlib.asynccontextmanager
async def kept(database, clock=None):
    desk = Desk(database, clock)
    running = asyncio.create_task(desk.journal.run())
    await asyncio.sleep(0)
    try:
        yield desk
    finally:
        desk.gate.error = None
        desk.journal.end()
        async with asyncio.timeout(SECONDS):
            await running


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "WRITES_APART", 0.0)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)


# -- what is kept --------------------------------------------------------------------------------------------------


async def test_what_happened_is_there_in_its_order_also_for_the_next_controller(database):
    async with kept(database) as desk:
        desk.bus.emit(gone("a"))
        desk.bus.emit(
            InstanceExited(plugin="b", instance="1", reason="Error", exit_code=3, message="m", at=2000.5)
        )
    items = await Desk(database).page()
    assert items == [
        {
            "id": 2,
            "kind": "InstanceExited",
            "plugin": "b",
            "at": "1970-01-01T00:33:20.500Z",
            "instance": "1",
            "reason": "Error",
            "exitCode": 3,
            "message": "m",
        },
        {"id": 1, "kind": "PluginRemoved", "plugin": "a", "at": "1970-01-01T00:16:40.000Z"},
    ]
    async with kept(database) as desk:
        desk.bus.emit(gone("c"))
    assert [item["id"] for item in await Desk(database).page()] == [3, 2, 1]


async def test_of_a_status_what_changed_is_kept_and_nothing_where_only_a_counter_did(database):
    async with kept(database) as desk:
        changes = [(None, "Starting", 0), ("Starting", "Starting", 0), ("Starting", "CrashLooping", 2)]
        for before, after, restarts in changes:
            old = status(before) if before else None
            desk.bus.emit(StatusChanged(plugin="a", before=old, after=status(after, restarts=restarts)))
    last, first = await Desk(database).page()
    assert [c["reason"] for c in first["conditions"]] == ["Starting", "Accepted"]
    assert last["conditions"] == [
        {"type": "Ready", "status": "False", "reason": "CrashLooping", "message": ""}
    ]
    assert last["restarts"] == {"count": 2, "lastReason": "Error", "lastExitCode": 3}


async def test_a_controller_that_does_not_lead_leaves_writing_to_the_one_that_does(database):
    async with kept(database) as desk:
        desk.leading = False
        desk.bus.emit(gone("seen by all"))
    assert await desk.page() == []


@pytest.mark.usefixtures("quick")
async def test_two_that_both_think_they_lead_keep_every_event_once(postgresql_url, tmp_path):
    """Each has a connection of its own; numbers are given once."""
    async with contextlib.AsyncExitStack() as stack:
        desks = []
        for _ in range(2):
            opened = await stack.enter_async_context(Database(address(postgresql_url, tmp_path)))
            desks.append(await stack.enter_async_context(kept(opened)))
        for number in range(20):
            for name, desk in zip("ab", desks, strict=True):
                desk.bus.emit(gone(f"{name}{number}", at=SystemClock().time()))
            await asyncio.sleep(0.005)
        await desks[0].written(40)
        items = await desks[1].page()
        assert [item["id"] for item in items] == list(range(40, 0, -1))
        for name in "ab":
            told = [item["plugin"] for item in reversed(items) if item["plugin"].startswith(name)]
            assert told == [f"{name}{number}" for number in range(20)]


# -- when the database is away -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), StorageFull("full")])
async def test_while_the_database_is_away_events_wait_and_are_written_when_it_is_back(database, error):
    async with kept(database) as desk:
        desk.gate.error = error
        for name in "abc":
            desk.bus.emit(gone(name))
            await asyncio.sleep(0)
        assert await desk.page() == []
        desk.gate.error = None
        await desk.written(3)
    assert await desk.plugins() == ["c", "b", "a"]


@pytest.mark.usefixtures("quick")
async def test_a_write_of_which_nobody_knows_whether_it_was_whole_is_not_written_twice(database):
    """The connection was lost while it committed: what is there is looked at before it is written again."""
    async with kept(database) as desk:
        desk.gate.error, desk.gate.late = DatabaseUnavailable("lost while it committed"), True
        desk.bus.emit(gone("a"))
        await desk.written(1)
        desk.gate.error = None
        desk.bus.emit(gone("b"))
        await desk.written(2)
    assert await desk.plugins() == ["b", "a"]


@pytest.mark.usefixtures("quick")
async def test_what_there_was_no_room_for_is_counted_in_its_place(database):
    async with kept(database) as desk:
        desk.gate.error = DatabaseUnavailable("away")
        for number in range(LONGEST_QUEUE + 10):
            desk.bus.emit(gone(f"p{number}", at=SystemClock().time()))
        desk.gate.error = None
    items = await desk.page()
    assert items[0]["plugin"] == f"p{LONGEST_QUEUE + 9}"
    [lost] = await desk.page(Wanted(kind="EventsLost"))
    assert lost["count"] == desk.bus.lost["journal"] == 10
    assert lost["id"] == 1


async def test_an_event_is_told_at_once_however_long_the_database_takes(database):
    """Whoever emits has done so before anything is written."""
    async with kept(database) as desk:
        desk.gate.error = DatabaseUnavailable("away")
        desk.bus.emit(gone("a"))
        assert len(desk.journal._events._queue) == 1
        desk.gate.error = None


async def test_what_happens_while_the_server_is_stopped_is_there_when_it_is_back(
    postgresql, postgresql_url, tmp_path
):
    async with Database(address(postgresql_url, tmp_path)) as database, kept(database) as desk:
        desk.bus.emit(gone("before"))
        await desk.written(1)
        await asyncio.to_thread(postgresql.stop)
        try:
            desk.bus.emit(gone("during"))
            async with asyncio.timeout(SECONDS):
                while database.away is None:
                    await asyncio.sleep(0.01)
        finally:
            await asyncio.to_thread(postgresql.start)
        await database.wait_there()
        desk.bus.emit(gone("after"))
        await desk.written(3)
        assert await desk.plugins() == ["after", "during", "before"]


# -- reading -------------------------------------------------------------------------------------------------------


async def test_pages_lead_from_the_newest_to_the_oldest_each_event_once(database):
    async with kept(database) as desk:
        for number in range(7):
            desk.bus.emit(gone(f"p{number}"))
    seen, before, more = [], None, True
    while more:
        items, more = await desk.journal.page(Wanted(), limit=3, before=before)
        seen += [item["plugin"] for item in items]
        before = items[-1]["id"]
    assert seen == [f"p{number}" for number in reversed(range(7))]


async def test_filters_leave_what_all_of_them_want(database):
    async with kept(database) as desk:
        for at in (100.0, 200.0):
            desk.bus.emit(gone("a", at=at))
            desk.bus.emit(gone("b", at=at))
            desk.bus.emit(PluginRefused(plugin="a", reason="r", detail="d", at=at))
    found = await desk.page(Wanted(plugin="a", kind="PluginRemoved", since=150.0))
    assert [(item["plugin"], item["kind"], item["id"]) for item in found] == [("a", "PluginRemoved", 4)]


async def taken(events, count):
    found = []
    async with asyncio.timeout(SECONDS):
        async for event in events:
            if event is not None:
                found.append(event["plugin"])
            if len(found) == count:
                break
    return found


async def test_who_follows_gets_what_it_missed_and_then_what_comes(database):
    async with kept(database) as desk:
        for name in "abc":
            desk.bus.emit(gone(name))
        await desk.written(3)
        async with contextlib.aclosing(desk.journal.follow(Wanted(), 1)) as events:
            assert await taken(events, 2) == ["b", "c"]
            assert desk.journal.followers == 1
            desk.bus.emit(gone("d"))
            assert await taken(events, 1) == ["d"]
        assert desk.journal.followers == 0


async def test_who_follows_hears_what_another_controller_wrote(database, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    async with kept(database) as leader:
        other = Desk(database)
        async with contextlib.aclosing(other.journal.follow(Wanted(plugin="a"), 0)) as events:
            assert await anext(events) is None  # nothing yet
            leader.bus.emit(gone("b"))
            leader.bus.emit(gone("a"))
            assert await taken(events, 1) == ["a"]


async def test_who_follows_stays_while_the_database_is_away(database, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    async with kept(database) as desk:
        desk.bus.emit(gone("a"))
        await desk.written(1)
        reading = desk.gate.reading

        def away():
            raise DatabaseUnavailable("away")

        async with contextlib.aclosing(desk.journal.follow(Wanted(), 0)) as events:
            desk.gate.reading = away
            assert await anext(events) is None
            desk.gate.reading = reading
            assert await taken(events, 1) == ["a"]


# -- retention -----------------------------------------------------------------------------------------------------


async def test_what_is_old_or_too_many_is_forgotten_and_the_newest_never_is(database, monkeypatch):
    async with kept(database) as desk:
        for number in range(10):
            desk.bus.emit(gone(f"p{number}", at=1000.0 + number))
    monkeypatch.setattr(pieces, "AT_ONCE", 2)
    assert await forget(database, before=1003.0, keep=100) == 3
    assert await forget(database, before=0, keep=4) == 3
    assert await desk.plugins() == ["p9", "p8", "p7", "p6"]
    assert await forget(database, before=9e9, keep=0) == 3
    assert await desk.plugins() == ["p9"]
    async with kept(database) as desk:
        desk.bus.emit(gone("next"))
    assert [item["id"] for item in await desk.page()] == [11, 10]


@pytest.mark.usefixtures("quick")
async def test_the_journal_forgets_by_itself_as_it_grows(database, monkeypatch):
    monkeypatch.setattr(module, "FORGET_EVERY", 10)
    monkeypatch.setattr(module, "KEPT_EVENTS", 15)
    clock = SystemClock()
    async with kept(database) as desk:
        for number in range(40):
            desk.bus.emit(gone(f"p{number}", at=clock.time()))
            if number % 10 == 9:
                await desk.written(1)
    assert len(await desk.page()) <= 15 + 10
    assert (await desk.plugins())[0] == "p39"


# -- as JSON -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd(Event):
    """What an integration may tell of its own."""

    anything: object = field(default=None)


async def test_events_of_integrations_are_kept_whatever_they_hold(database):
    odd = {
        "nan": float("nan"),
        "a\0b": "\0\udcff",
        "set": {1},
        "long": "x" * (2 * MAX_TEXT),
        "deep": [{"n": 1}],
    }
    async with kept(database) as desk:
        desk.bus.emit(Odd(plugin="\udcff" * 400, at=float("inf"), anything=odd))
    [item] = await desk.page(Wanted(kind="Odd"))
    assert item["anything"] == {
        "nan": "nan",
        "a�b": "�?",
        "set": "{1}",
        "long": "x" * MAX_TEXT,
        "deep": [{"n": 1}],
    }
    assert item["plugin"] == "?" * 320


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.just("text"),
    lambda inner: st.lists(inner) | st.dictionaries(st.just("key"), inner),
)


@given(JSON)
def test_what_is_json_already_is_told_as_it_is(value):
    assert plain(value) == value


def test_every_kind_of_event_has_a_name_to_ask_for():
    assert {"StatusChanged", "ManagerStarting", "ManagerStopping", "EventsLost", "Odd"} <= set(kinds())
    assert told(ManagerStarting()) == {}


async def test_time_is_the_clocks(database):
    """Pauses between writes are waited for by the clock that was given."""
    clock = FakeClock()
    async with kept(database, clock) as desk:
        desk.bus.emit(gone("a"))
        await desk.written(1)
        desk.journal.end()
        await clock.advance(1)
