"""Where the database is, as `XCORE_DATABASE_URL` says it: a file of SQLite, or a server of PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from xcore.errors import Invalid, Problem

FILE = "xcore.db"


class InvalidAddress(Invalid):
    reason = "InvalidSettings"


def address(url: str | None, state_dir: Path) -> URL:
    """Give the address with its driver; without one, the file in the state directory. Raises InvalidAddress."""
    if url is None:
        return URL.create("sqlite+aiosqlite", database=str(state_dir / FILE))
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        raise _wrong() from None
    if parsed.drivername == "postgresql" and parsed.database:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and kind == "sqlite" and Path(parsed.database or "").is_absolute():
        return parsed.set(drivername="sqlite+aiosqlite", query={})
    raise _wrong()


def _wrong() -> InvalidAddress:
    # The value may hold a password: it is not repeated.
    rule = "must be postgresql://USER:PASSWORD@HOST/DATABASE, or sqlite:/// with the absolute path of a file"
    return InvalidAddress("the settings are not valid", [Problem("XCORE_DATABASE_URL", rule)])


def file_of(url: URL) -> Path | None:
    """SQLite's file; None of a server."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
