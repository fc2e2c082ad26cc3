"""The schema's version: read, judged, and brought up to what this code knows.

A step is a file in `migrations/versions`; their numbers are the versions, so that a start needs no Alembic to judge.
"""

from __future__ import annotations

import functools
import importlib
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.database.faults import DAMAGED
from xcore.errors import DatabaseUnavailable

SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x78636F7265  # "xcore", of everybody who upgrades the same PostgreSQL


class Version(Enum):
    """How a schema stands to this code. NONE: nothing is there yet."""

    NONE = "none"
    OLDER = "older"
    SAME = "same"
    NEWER = "newer"


class SchemaMismatch(DatabaseUnavailable):
    """It answers, and its tables are not those this code knows."""


@functools.cache
def newest() -> str:
    """The version this code knows, such as 0003."""
    return max(path.name[:4] for path in (SCRIPTS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


async def found(connection: AsyncConnection) -> str:
    """The version the database is at; "" when it has no tables of ours."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
        return ""
    return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar() or ""


def judge(version: str) -> Version:
    if not version:
        return Version.NONE
    if version == newest():
        return Version.SAME
    return Version.OLDER if version < newest() else Version.NEWER


def demand(version: str) -> None:
    """Raise SchemaMismatch unless it is the one this code knows."""
    if judge(version) is not Version.SAME:
        raise SchemaMismatch(sentence(version))


def sentence(version: str) -> str:
    """What is to be done about a schema that is another than the one this code knows."""
    if judge(version) is Version.NEWER:
        return f"the database has schema {version}, which is newer than {newest()} of this xcore; run the newer xcore again"
    there = f"schema {version}" if version else "no tables"
    return f"the database has {there}, this xcore needs {newest()}; run `xcore db upgrade`"


async def check_file(connection: AsyncConnection) -> None:
    """Have SQLite read its file; raises DatabaseUnavailable when it is damaged."""
    if (await connection.execute(text("PRAGMA quick_check(1)"))).scalar() != "ok":
        raise DatabaseUnavailable(DAMAGED)


async def upgrade(connection: AsyncConnection) -> None:
    """Bring it up, within the caller's transaction: all steps or none. Others who do so at the same time wait."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    await connection.run_sync(_run)


def _run(connection: Connection) -> None:
    # 0.2 s that only an upgrade is to pay.
    alembic: Any = importlib.import_module("alembic.command")
    config: Any = importlib.import_module("alembic.config").Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    alembic.upgrade(config, "head")
