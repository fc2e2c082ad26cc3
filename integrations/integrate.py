"""The bridge: joins a Manager and a FastAPI application, at start-up and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from integrations.admin import events, keys, orders, plugins, schemas, tasks
from integrations.admin.upload import Uploads
from integrations.gate import Gate
from integrations.journal import Journal
from integrations.keyring import KeyRing
from integrations.once import Once
from xcore.intake import Intake
from xcore.manager import Manager


@contextlib.asynccontextmanager
async def integrate(
    manager: Manager, app: FastAPI, *, intake: Intake, once: Once, gate: Gate | None
) -> AsyncIterator[None]:
    """Give the application its admin routes and listeners for the time of the `async with` block.

    `gate` None means authentication is off. Start the manager inside: its first events are heard, too.
    """
    journal = Journal(manager.bus)
    app.state.manager, app.state.journal, app.state.gate = manager, journal, gate
    app.state.intake, app.state.once, app.state.uploads = intake, once, Uploads(intake.staging)
    ring = app.state.ring = KeyRing(app.state.database, gate)
    app.include_router(plugins.router)
    app.include_router(orders.router)
    app.include_router(events.router)
    app.include_router(tasks.router)
    app.include_router(keys.router)
    schemas.describe(app)
    listening = asyncio.create_task(journal.run())
    knowing = asyncio.create_task(ring.follow())
    app.state.background.watch("keys", knowing)
    await asyncio.sleep(0)  # let it subscribe
    try:
        yield
    finally:
        listening.cancel()
        knowing.cancel()
        await asyncio.gather(listening, knowing, return_exceptions=True)
