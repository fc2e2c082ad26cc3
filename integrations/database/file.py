"""SQLite's file as a whole: who has it, what is wrong with it, a copy of it while it is used, going back to a copy.

For one process at a time, and for commands: what is here blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from integrations.database import schema
from integrations.database.faults import FULL, mapped_file
from xcore.errors import DatabaseUnavailable, StorageFull
from xcore.store import sync_directory

IN_USE = "a controller is using the database; stop it first"
_WAL = ("-wal", "-shm")


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """Have it alone, for as long as the block; raises DatabaseUnavailable when another process has it.

    The lock is the kernel's, on a file beside it: it ends with its process, however that ended.
    """
    try:
        lock = os.open(f"{file}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseUnavailable(f"the database's file cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatabaseUnavailable(IN_USE) from None
        yield
    finally:
        os.close(lock)


def check(file: Path) -> tuple[str, list[str]]:
    """Read all of it; gives the version of its schema and what is wrong with it. Raises DatabaseUnavailable."""
    with mapped_file(), _opened(file) as connection:
        wrong = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        lost = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
        wrong += [f"a row of {table} belongs to nothing in {parent}" for table, _, parent, _ in lost]
        return _version(connection), wrong


def back_up(file: Path, target: Path) -> None:
    """Write a copy as it is at one moment, whoever writes meanwhile; it is whole, or not there.

    Raises DatabaseUnavailable, StorageFull; FileExistsError rather than write over something.
    """
    with _staged(target) as staged:
        with mapped_file(), _opened(file) as source, contextlib.closing(sqlite3.connect(staged)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, to be carried anywhere
        os.link(staged, target)
        sync_directory(target.parent)


def restore(backup: Path, file: Path) -> Path:
    """Put a copy in the place of the file, which is kept; gives where. A backup that is no good is refused first.

    Raises DatabaseUnavailable when a controller uses the file or the backup is damaged, SchemaMismatch when it is newer.
    """
    version, wrong = check(backup)
    if wrong or not version:
        raise DatabaseUnavailable(
            f"the backup is damaged: {wrong[0] if wrong else 'it holds no tables of ours'}"
        )
    if schema.judge(version) is schema.Version.NEWER:
        schema.demand(version)
    with held(file), _staged(file) as staged:
        with _room():
            shutil.copyfile(backup, staged)
            _sync(staged)
        kept = file.with_name(f"{file.name}.before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        if file.exists():
            os.link(file, kept)
            # What lies beside a file belongs to it: left behind, it would be taken for the other's.
            for end in _WAL:
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{file}{end}").rename(f"{kept}{end}")
        staged.replace(file)
        sync_directory(file.parent)
        return kept


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    if not file.is_file():
        raise DatabaseUnavailable(f"there is no database {file.name}")
    with contextlib.closing(
        sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=5)
    ) as connection:
        yield connection


def _version(connection: sqlite3.Connection) -> str:
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:  # no such table
        return ""
    return str(row[0]) if row else ""


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Give a place beside the target that is gone afterwards, unless it was moved."""
    with _room():
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for end in ("", *_WAL, "-journal"):
            Path(f"{name}{end}").unlink(missing_ok=True)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


@contextlib.contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFull(f"{FULL}: {error.strerror}") from error
