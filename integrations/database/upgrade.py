"""Upgrading a server's schema: an order of its administrator's, never done by a start."""

from __future__ import annotations

from sqlalchemy import URL

from integrations.database import schema
from integrations.database.faults import mapped
from integrations.database.postgresql import patient_engine


async def upgrade_server(url: URL) -> tuple[str, str]:
    """Bring it up to what this code knows; gives the versions before and after ("": no tables).

    Raises DatabaseUnavailable, SchemaMismatch when it is newer.
    """
    engine = patient_engine(url)
    try:
        with mapped():
            async with engine.begin() as connection:
                before = await schema.found(connection)
                if schema.judge(before) is schema.Version.NEWER:
                    schema.demand(before)
                await schema.upgrade(connection)
                return before, await schema.found(connection)
    finally:
        await engine.dispose()
