"""What SQLite, PostgreSQL and SQLAlchemy say when something is wrong, as errors of ours. The one place that knows theirs."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy.exc import DataError, DBAPIError, InvalidRequestError, TimeoutError as PoolTimeout

from xcore.errors import Conflict, DatabaseUnavailable, StorageFull, XcoreError

AWAY = "the database does not answer"
BUSY = "the database has too much to do; try again"
DAMAGED = "the database is damaged; stop the controller and go back to a backup with `xcore db restore`"
LOCKED = "another process holds the database"
READ_ONLY = "the database cannot be written: it is read-only"
FULL = "there is no room left for the database; nothing was changed"
TAKEN = "somebody else wrote the same at the same moment; read it again"

_SQLITE = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_IOERR: "the database's disk reports errors",
    sqlite3.SQLITE_CANTOPEN: "the database's file cannot be opened",
}
_SQLITE_TAKEN = frozenset({sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})
# By SQLSTATE, the longest prefix first: PostgreSQL's appendix A.
_POSTGRESQL = {
    "25006": READ_ONLY,
    "40": BUSY,  # serialization failure, deadlock
    "55P03": BUSY,
    "57014": BUSY,  # over statement_timeout
    "53": BUSY,  # connections, memory
    "42501": "the database refuses its user the rights it needs; the tables must be its own",
    "08": AWAY,
    "57P": AWAY,  # shutting down, starting up
    "XX": "the database reports damage; look at the server's log",
}


@contextlib.contextmanager
def mapped() -> Iterator[None]:
    """Raise what is known of a database's errors as errors of ours; a fault of this code stays what it is."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable(BUSY) from error
    except DBAPIError as error:
        known = _known(error)
        if known is None:
            raise
        raise known from error
    except InvalidRequestError as error:
        # The session's connection was lost, and was used once more.
        if error.code not in {"8s2b", "7s2a"}:
            raise
        raise DatabaseUnavailable(AWAY) from error


@contextlib.contextmanager
def mapped_file() -> Iterator[None]:
    """The same for Python's own sqlite3."""
    try:
        yield
    except sqlite3.Error as error:
        known = _of_sqlite(error)
        if known is None:
            raise
        raise known from error


def _known(error: DBAPIError) -> XcoreError | None:
    if isinstance(error.orig, sqlite3.Error):
        return _of_sqlite(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or (state is None and not isinstance(error, DataError)):
        return DatabaseUnavailable(
            AWAY
        )  # psycopg has no state when nobody answered, nor for what it cannot even send
    if state is None:
        return None
    if state == "53100":
        return StorageFull(FULL)
    if state == "23505":
        return Conflict(TAKEN)
    sentence = next(
        (
            _POSTGRESQL[prefix]
            for prefix in sorted(_POSTGRESQL, key=len, reverse=True)
            if state.startswith(prefix)
        ),
        None,
    )
    return DatabaseUnavailable(sentence) if sentence else None


def _of_sqlite(error: sqlite3.Error) -> XcoreError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # aiosqlite: the connection is gone
        return DatabaseUnavailable(AWAY) if isinstance(error, sqlite3.OperationalError) else None
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return StorageFull(FULL)
    if code in _SQLITE_TAKEN:
        return Conflict(TAKEN)
    sentence = _SQLITE.get(code & 0xFF)
    return DatabaseUnavailable(sentence) if sentence else None
