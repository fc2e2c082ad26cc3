"""What the controller does at its hours."""

import asyncio
import sqlite3
from types import SimpleNamespace

import pytest

from integrations.database.address import address
from integrations.database.database import Database
from integrations.database.file import check
from integrations.tasks import builtin
from integrations.tasks.builtin import DAY, KEPT_BACKUPS, back_up_beside
from integrations.tasks.task import Run
from xcore.errors import Conflict, DatabaseUnavailable, StorageFull
from xcore.testing.clock import FakeClock


@pytest.fixture
async def file(sqlite_url, tmp_path):
    """A database that is in use."""
    async with Database(address(sqlite_url, tmp_path)) as opened:
        yield opened.file


def run():
    return Run("k", asyncio.Event())


async def test_what_is_old_is_let_go_of_by_kind():
    """Each kind by its own age; the output says how many of each."""
    clock, asked = FakeClock(), {}

    def forget(kind, count):
        async def do(before, _):
            asked[kind] = clock.time() - before
            return count

        return do

    kinds = {"runs": (30, forget("runs", 3)), "calls": (1, forget("calls", 0))}
    told = await builtin.retention(kinds, clock).do(run())
    assert told == "runs older than 30 days: 3\ncalls older than 1 days: 0"
    assert asked == {"runs": 30 * DAY, "calls": DAY}


async def test_what_cannot_be_let_go_of_is_named_and_keeps_back_no_other_kind(caplog):
    """Whatever fails it: the database, or an error of ours, which the log tells."""
    clock, done = FakeClock(), []

    async def away(*_):
        raise DatabaseUnavailable("it has too much to do")

    async def wrong(*_):
        raise ZeroDivisionError("of ours")

    async def well(*_):
        done.append(1)
        return 3

    kinds = {"runs": (30, away), "calls": (1, well), "keys": (90, wrong), "events": (30, well)}
    with pytest.raises(builtin.NotAllForgotten) as failed:
        await builtin.retention(kinds, clock).do(run())
    assert done == [1, 1]
    assert failed.value.reason == "DatabaseUnavailable"
    assert failed.value.detail.splitlines() == [
        "runs: it has too much to do",
        "keys: an error of the controller; it is in its log",
        "calls older than 1 days: 3",
        "events older than 30 days: 3",
    ]
    assert "of ours" in caplog.text


async def test_whoever_lets_go_is_told_of_the_end():
    last, told = run(), []

    async def forget(_, stopping):
        told.append(stopping)
        stopping.set()
        return 1

    kinds = {"runs": (30, forget), "calls": (1, forget)}
    assert await builtin.retention(kinds, FakeClock()).do(last) == "runs older than 30 days: 1"
    assert told == [last.stopping]


async def test_at_the_end_of_the_controller_the_rest_is_left_for_the_next_time():
    last = run()
    last.stopping.set()
    assert await builtin.retention({"runs": (30, None)}, FakeClock()).do(last) == ""


async def test_what_nobody_wants_is_named():
    async def swept():
        return [f"{number:02}" * 20 for number in range(25)]

    told = await builtin.sweep(swept).do(run())
    assert told.startswith("removed 000000000000, 010101010101")
    assert told.endswith("and 5 more")


async def test_a_backup_is_whole_and_the_oldest_go(tmp_path, monkeypatch, file):
    """A copy of each night, readable by its owner alone; seven are kept, and whatever else lies there is let be."""
    seconds = iter(range(1_700_000_000, 1_700_000_100))
    gmtime = builtin.time.gmtime
    nights = SimpleNamespace(strftime=builtin.time.strftime, gmtime=lambda: gmtime(next(seconds)))
    monkeypatch.setattr(builtin, "time", nights)
    (tmp_path / "backups").mkdir(mode=0o700)
    (tmp_path / "backups" / "mine.db").write_text("kept")
    for _ in range(KEPT_BACKUPS + 2):
        told = back_up_beside(file)
    copies = sorted((tmp_path / "backups").glob("xcore-*.db"))
    assert len(copies) == KEPT_BACKUPS
    assert told == f"{copies[-1].name}: {copies[-1].stat().st_size} bytes"
    assert check(copies[-1])[1] == []
    assert {copy.stat().st_mode & 0o777 for copy in copies} == {0o600}
    assert (tmp_path / "backups" / "mine.db").exists()


async def test_a_backup_never_writes_over_another(tmp_path, monkeypatch, file):
    moment = builtin.time.gmtime(1_700_000_000)
    monkeypatch.setattr(
        builtin, "time", SimpleNamespace(strftime=builtin.time.strftime, gmtime=lambda: moment)
    )
    back_up_beside(file)
    with pytest.raises(Conflict, match="already"):
        back_up_beside(file)


def test_a_backup_that_cannot_be_written_is_told(tmp_path):
    sqlite3.connect(tmp_path / "xcore.db").close()
    (tmp_path / "backups").write_text("in the way")
    with pytest.raises(StorageFull, match="backups/ cannot be written"):
        back_up_beside(tmp_path / "xcore.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "xcore.db"]


async def test_keys_that_end_soon_are_named(caplog):
    clock = FakeClock()

    async def ending(before, most):
        assert before == clock.time() + builtin.WARNED_DAYS * DAY
        return [SimpleNamespace(name="ci", prefix="xck_ab", expires=clock.time() + DAY)]

    told = await builtin.expiry(ending, clock).do(run())
    assert told.startswith("ci (xck_ab…) until 2023-11-15T")
    assert "good for less than 14 days: ci" in caplog.text
