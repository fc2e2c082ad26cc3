"""A database that is locked, full, read-only, damaged, away, or silent: a reason and a sentence within a second, nothing lost."""

import asyncio
import contextlib
import sqlite3
import subprocess
import time

import pytest
from sqlalchemy import func, make_url, select
from sqlalchemy.exc import DataError

from integrations.database.address import address
from integrations.database.database import Database
from integrations.database.schema import SchemaMismatch
from integrations.database.tables import AnswerRow, PluginRow
from tests.support import until
from xcore.errors import DatabaseUnavailable, StorageFull

SOON = 1.0
SLACK = 1.0  # for a machine with other work to do


def row(name):
    return PluginRow(name=name, uid="0" * 8, wanted=1)


async def write(database, name):
    async with database.writing() as session:
        session.add(row(name))


async def names(database):
    async with database.reading() as session:
        return list(await session.scalars(select(PluginRow.name).order_by(PluginRow.name)))


@contextlib.asynccontextmanager
async def refused(sentence, error=DatabaseUnavailable):
    """Within a second, with this sentence."""
    began = time.monotonic()
    with pytest.raises(error, match=sentence):
        yield
    assert time.monotonic() - began < SOON + SLACK


@pytest.fixture
async def sqlite(sqlite_url, tmp_path):
    async with Database(address(sqlite_url, tmp_path)) as database:
        yield database


@pytest.fixture
async def server(postgresql_url, tmp_path):
    async with Database(address(postgresql_url, tmp_path)) as database:
        yield database


# -- SQLite --------------------------------------------------------------------------------------------------------


async def test_fifty_writers_at_once_all_write(sqlite, tmp_path):
    """Nobody is told that the database is locked, also while another process writes beside them."""
    ended = asyncio.Event()

    def beside():
        with contextlib.closing(sqlite3.connect(tmp_path / "xcore.db", timeout=5)) as other:
            while not ended.is_set():
                other.execute("BEGIN IMMEDIATE")
                other.execute("INSERT INTO answers VALUES (hex(randomblob(16)), 0, '', '', 0, '{}', NULL)")
                other.commit()
                time.sleep(0.002)

    async def writer(number):
        for turn in range(10):
            await write(sqlite, f"{number}-{turn}")
            assert f"{number}-{turn}" in await names(sqlite)

    other = asyncio.create_task(asyncio.to_thread(beside))
    try:
        await asyncio.gather(*(writer(number) for number in range(50)))
    finally:
        ended.set()
        await other
    assert len(await names(sqlite)) == 500


async def test_a_file_another_process_holds_is_told_and_waited_for(sqlite, tmp_path):
    """A shell with a transaction open: writes are refused within a second, reads go on, and all is well when it lets go."""
    with contextlib.closing(sqlite3.connect(tmp_path / "xcore.db")) as shell:
        shell.execute("BEGIN IMMEDIATE")
        async with refused("another process holds the database"):
            await write(sqlite, "a")
        began = time.monotonic()
        async with refused("another process holds the database"):
            await write(sqlite, "a")
        assert time.monotonic() - began < SOON / 2, "at once, from the second time on"
        shell.rollback()
    await until(lambda: sqlite.away is None, seconds=5, what="the database")
    await write(sqlite, "a")
    assert await names(sqlite) == ["a"]


async def test_a_full_disk_is_told_and_nothing_is_half_written(small_disk):
    """StorageFull; what was acknowledged is there; with room again it writes again."""
    written = []

    async def write_large_ones(database):
        for number in range(1000):
            async with database.writing() as session:
                session.add(row(f"{number}"))
                session.add(_large(number))
            written.append(f"{number}")

    async with Database(address(None, small_disk)) as database:
        (small_disk / "filler").write_bytes(b"x" * 300_000)
        with pytest.raises(StorageFull, match="there is no room left for the database; nothing was changed"):
            await write_large_ones(database)
        assert len(written) > 5
        assert await names(database) == sorted(written)
        (small_disk / "filler").unlink()
        await write(database, "after")
        assert await names(database) == sorted([*written, "after"])


def _large(number):
    return AnswerRow(id=str(number), at=0, fingerprint="", plugin="", status=200, headers={}, body="x" * 2000)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB, of our own."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "xcore-test", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


async def test_a_read_only_disk_is_told_at_the_start(small_disk):
    """What cannot be written is no database to serve with."""
    async with Database(address(None, small_disk)) as database:
        await write(database, "a")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    async with refused("Read-only file system"):
        await Database(address(None, small_disk)).__aenter__()


@pytest.mark.parametrize("where", ["head", "page"])
async def test_a_damaged_file_is_refused_at_the_start(sqlite_url, tmp_path, where):
    """The start says what is wrong and which command helps; the file is left as it is."""
    async with Database(address(sqlite_url, tmp_path)) as database:
        for number in range(100):
            await write(database, f"plugin-{number}")
    file = tmp_path / "xcore.db"
    content = bytearray(file.read_bytes())
    if where == "head":
        content[:100] = b"\x00" * 100
    else:
        content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    async with refused("damaged; stop the controller and go back to a backup with `xcore db restore`"):
        await Database(address(sqlite_url, tmp_path)).__aenter__()
    assert file.read_bytes() == bytes(content)


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


async def test_a_server_that_was_stopped_is_away_within_a_second_and_back_within_five(server, postgresql):
    """First and later writes are refused; when it is back they are carried out, on connections that are new."""
    await write(server, "a")
    with postgresql.away():
        for _ in range(3):
            async with refused("the database does not answer"):
                await write(server, "b")
    back = time.monotonic()
    await until(lambda: server.away is None, seconds=5, what="the database")
    assert time.monotonic() - back < 5
    await write(server, "c")
    assert await names(server) == ["a", "c"]


async def test_a_server_that_hangs_is_away_within_a_second(server, postgresql):
    """It accepts connections and says nothing: nobody waits longer than a second, also in the middle of a transaction."""
    await write(server, "a")
    async with refused("the database does not answer"), server.writing() as session:
        session.add(row("b"))
        await session.flush()
        with postgresql.hanging():
            session.add(row("c"))
            await session.flush()
    await until(lambda: server.away is None, seconds=5, what="the database")
    assert await names(server) == ["a"]
    with postgresql.hanging():
        for _ in range(3):
            async with refused("the database does not answer"):
                await write(server, "b")
    await until(lambda: server.away is None, seconds=5, what="the database")
    assert await names(server) == ["a"]


async def test_a_server_that_was_restarted_between_two_writes_costs_no_error(server, postgresql):
    """Connections that went with it are found out before they are used."""
    await asyncio.gather(*(write(server, f"a{number}") for number in range(5)))
    postgresql.stop()
    postgresql.start()
    await until(lambda: server.away is None, seconds=5, what="the database")
    await asyncio.gather(*(write(server, f"b{number}") for number in range(5)))
    assert len(await names(server)) == 10


async def test_a_schema_that_is_upgraded_under_a_controller_is_no_outage(
    server, postgresql, postgresql_url, tmp_path
):
    """A step only adds: who began before it goes on, also over a lost connection; who begins after it has to know it."""
    await write(server, "a")
    name = make_url(postgresql_url).database
    postgresql.sql("UPDATE alembic_version SET version_num = '9999'", name=name)
    postgresql.stop()
    postgresql.start()
    await until(lambda: server.away is None, seconds=5, what="the database")
    await write(server, "b")
    assert await names(server) == ["a", "b"]
    with pytest.raises(SchemaMismatch, match="newer"):
        async with Database(address(postgresql_url, tmp_path)):
            pass


async def test_a_server_that_only_reads_refuses_writes_with_the_reason(server, postgresql, postgresql_url):
    """A standby, or one whose disk is kept from filling: reads go on, writes are told why not."""
    name = make_url(postgresql_url).database
    postgresql.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await server._engine.dispose()
    async with refused("the database cannot be written: it is read-only"):
        await write(server, "a")
    assert await names(server) == []


async def test_a_server_that_refuses_the_connection_is_told_with_its_reason_in_the_log(
    postgresql, tmp_path, caplog
):
    """A wrong name, user or password: clients hear that it does not answer, the log has the server's words."""
    async with (
        Database(address(postgresql.url("nowhere"), tmp_path)) as database,
        refused("the database does not answer"),
    ):
        await write(database, "a")
    assert 'database "nowhere" does not exist' in caplog.text


async def test_more_at_once_than_connections_wait_their_turn(server):
    """A hundred writers share ten connections."""
    await asyncio.gather(*(write(server, f"{number}") for number in range(100)))
    assert len(await names(server)) == 100


async def test_a_caller_that_leaves_lets_go_of_its_connection(server, postgresql):
    """Cancelled in the middle of a statement: the transaction is rolled back and holds nobody up."""
    async with server.reading() as session:
        assert await session.scalar(select(func.count()).select_from(PluginRow)) == 0

    async def held():
        async with server.writing() as session:
            session.add(row("a"))
            await session.flush()
            await session.execute(select(func.pg_sleep(0.7)))

    task = asyncio.create_task(held())
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await write(server, "a")
    assert await names(server) == ["a"]


async def test_what_cannot_even_be_sent_is_no_outage(server):
    """A text with a NUL is a fault of whoever wrote it there: nothing else waits for a database that is well."""
    with pytest.raises(DataError):
        await write(server, "a\0b")
    assert server.away is None
    await write(server, "a")
    assert await names(server) == ["a"]
