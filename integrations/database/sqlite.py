"""SQLite as it is used here: one writer at a time, readers beside it, nothing acknowledged that is not on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from xcore.errors import DatabaseUnavailable

WRITES = "xcore_writes"  # the execution option of a transaction that will write
BUSY_MILLISECONDS = 700
_PRAGMAS = (
    "journal_mode=WAL",  # readers never wait for the writer
    "synchronous=FULL",  # a commit is on disk when it returns
    "foreign_keys=ON",
    f"busy_timeout={BUSY_MILLISECONDS}",  # another process: a backup, a shell
)


def sqlite_engine(url: URL, *, connections: int) -> AsyncEngine:
    """Make an engine; its file is made readable by its owner only. Raises DatabaseUnavailable."""
    _make_private(Path(str(url.database)))
    engine = create_async_engine(url, pool_size=connections, max_overflow=0, pool_use_lifo=True)
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _make_private(file: Path) -> None:
    """SQLite gives the files it makes beside this one the same mode."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseUnavailable(f"the database's file cannot be opened: {error.strerror}") from error


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # Python's sqlite3 would begin transactions of its own
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """A writer takes the lock at once: one that began by reading could not wait for it later."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
