"""The schema of a database, looked at and brought up. A server's is an order of its administrator's, never done by a start."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.database import file, schema
from integrations.database.address import file_of
from integrations.database.database import Database
from integrations.database.faults import mapped
from integrations.database.postgresql import patient_engine


async def upgrade(url: URL) -> tuple[str, str]:
    """Bring it up to what this code knows; gives the versions before and after ("": no tables).

    Raises DatabaseUnavailable, StorageFull; SchemaMismatch when it is newer.
    """
    if (path := file_of(url)) is not None:
        before = file.check(path)[0] if path.exists() else ""
        async with Database(url):
            return before, schema.newest()
    async with _patient(url) as connection:
        before = await schema.found(connection)
        if schema.judge(before) is schema.Version.NEWER:
            schema.demand(before)
        await schema.upgrade(connection)
        return before, await schema.found(connection)


async def check(url: URL) -> tuple[str, list[str]]:
    """Give the version of its schema and what is wrong with it; raises DatabaseUnavailable.

    A file is read as a whole; what a server holds is the server's to check.
    """
    if (path := file_of(url)) is not None:
        version, wrong = file.check(path)
    else:
        async with _patient(url) as connection:
            version, wrong = await schema.found(connection), []
    if schema.judge(version) is not schema.Version.SAME:
        wrong.append(schema.sentence(version))
    return version, wrong


@contextlib.asynccontextmanager
async def _patient(url: URL) -> AsyncIterator[AsyncConnection]:
    engine = patient_engine(url)
    try:
        with mapped():
            async with engine.begin() as connection:
                yield connection
    finally:
        await engine.dispose()
