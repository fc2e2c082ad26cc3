"""SQLite's file as a whole: a copy of it while it is used, going back to one, and nothing lost on either way."""

import contextlib
import sqlite3
import threading

import pytest
from sqlalchemy import select

from integrations.database import file as files
from integrations.database.address import address
from integrations.database.database import Database
from integrations.database.schema import SchemaMismatch
from integrations.database.tables import PluginRow
from xcore.errors import DatabaseUnavailable


@pytest.fixture
def url(tmp_path):
    return address(None, tmp_path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "xcore.db"


async def write(database, *names):
    for name in names:
        async with database.writing() as session:
            session.add(PluginRow(name=name, uid="0" * 8, wanted=1))


async def names(database):
    async with database.reading() as session:
        return list(await session.scalars(select(PluginRow.name).order_by(PluginRow.name)))


async def test_a_backup_is_gone_back_to_and_what_was_there_is_kept(url, file, tmp_path):
    """Rows written after the backup are gone after the restore, and are in the file that was kept."""
    async with Database(url) as database:
        await write(database, "a")
        files.back_up(file, tmp_path / "backup.db")
        await write(database, "b")
    kept = files.restore(tmp_path / "backup.db", file)
    async with Database(url) as database:
        assert await names(database) == ["a"]
        await write(database, "c")
    async with Database(address(f"sqlite:///{kept}", tmp_path)) as database:
        assert await names(database) == ["a", "b"]
    assert file.stat().st_mode & 0o077 == 0


async def test_a_backup_taken_while_others_write_is_whole(url, file, tmp_path):
    """It is one moment of the database, and nobody who writes is kept waiting for long or fails."""
    async with Database(url) as database:
        await write(database, *(f"early-{number}" for number in range(20)))
        taken = threading.Thread(target=files.back_up, args=(file, tmp_path / "backup.db"))
        taken.start()
        await write(database, *(f"late-{number}" for number in range(20)))
        taken.join()
    version, wrong = files.check(tmp_path / "backup.db")
    assert (version >= "0001", wrong) == (True, [])
    with contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as copy:
        there = {name for (name,) in copy.execute("SELECT name FROM plugins")}
    late = sorted((name for name in there if name.startswith("late")), key=lambda name: int(name[5:]))
    assert there >= {f"early-{number}" for number in range(20)}
    assert late == [f"late-{number}" for number in range(len(late))]


async def test_a_backup_writes_over_nothing(url, file, tmp_path):
    """What is at the path already stays, and no part of a backup is left."""
    (tmp_path / "mine").write_text("mine")
    async with Database(url):
        with pytest.raises(FileExistsError):
            files.back_up(file, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"
    assert not list(tmp_path.glob(".mine*"))


async def test_nothing_is_restored_while_a_controller_uses_the_file(url, file, tmp_path):
    """Restore, and a second controller, are refused as long as one has the file; a backup is not."""
    async with Database(url) as database:
        await write(database, "a")
        files.back_up(file, tmp_path / "backup.db")
        with pytest.raises(DatabaseUnavailable, match="stop it first"):
            files.restore(tmp_path / "backup.db", file)
        with pytest.raises(DatabaseUnavailable, match="stop it first"):
            await Database(url).__aenter__()
        assert await names(database) == ["a"]
    assert not list(tmp_path.glob("*.before-*"))


@pytest.mark.parametrize("kind", ["garbage", "empty", "torn", "foreign"])
async def test_a_backup_that_is_no_good_is_refused_before_anything_is_changed(url, file, tmp_path, kind):
    """What is damaged, or holds no tables of ours, replaces nothing."""
    async with Database(url) as database:
        await write(database, *(f"plugin-{number}" for number in range(200)))
    backup = tmp_path / "backup.db"
    files.back_up(file, backup)
    content = bytearray(backup.read_bytes())
    match kind:
        case "garbage":
            backup.write_bytes(b"not a database" * 1000)
        case "empty":
            backup.write_bytes(b"")
        case "torn":
            content[4096:12288] = b"\xff" * 8192
            backup.write_bytes(content)
        case "foreign":
            backup.unlink()
            with contextlib.closing(sqlite3.connect(backup)) as other:
                other.execute("CREATE TABLE mine (x)")
    before = file.read_bytes()
    with pytest.raises(DatabaseUnavailable):
        files.restore(backup, file)
    assert file.read_bytes() == before
    assert not list(tmp_path.glob("*.before-*"))


async def test_a_backup_of_a_newer_xcore_is_refused(url, file, tmp_path):
    """Its tables would be refused at the next start."""
    async with Database(url):
        files.back_up(file, tmp_path / "backup.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as copy, copy:
        copy.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer"):
        files.restore(tmp_path / "backup.db", file)


async def test_a_damaged_file_is_replaced_by_a_backup(url, file, tmp_path):
    """A controller refuses to start on it and names the command; after it, it starts with what the backup has."""
    async with Database(url) as database:
        await write(database, "a")
        files.back_up(file, tmp_path / "backup.db")
    file.write_bytes(b"\x00" * 8192)
    with pytest.raises(DatabaseUnavailable, match="xcore db restore"):
        await Database(url).__aenter__()
    files.restore(tmp_path / "backup.db", file)
    async with Database(url) as database:
        assert await names(database) == ["a"]
