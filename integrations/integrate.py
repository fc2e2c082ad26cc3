"""The bridge: joins a Manager and a FastAPI application, at start-up and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI

from integrations.admin import audit, calls, doctor, events, keys, orders, plugins, schemas, tasks
from integrations.admin.upload import Uploads
from integrations.audit import Audit
from integrations.gate import Gate
from integrations.journal import CLOSE_SECONDS, Journal
from integrations.keyring import KeyRing
from integrations.once import Once
from xcore.intake import Intake

_log = logging.getLogger("xcore.integrations")


@contextlib.asynccontextmanager
async def integrate(
    app: FastAPI, *, intake: Intake, once: Once, journal: Journal, gate: Gate | None
) -> AsyncIterator[None]:
    """Give the application its admin routes and listeners for the time of the `async with` block.

    Its state holds the manager, the database and the background already. `gate` None means authentication is off.
    Start the manager inside: its first events are heard, too.
    """
    app.state.journal, app.state.gate = journal, gate
    app.state.intake, app.state.once, app.state.uploads = intake, once, Uploads(intake.staging)
    audit_log = app.state.audit = Audit(app.state.database)
    ring = app.state.ring = KeyRing(app.state.database, gate)
    if gate is not None:
        gate.listen(app.state.background.cut)
    for room in (plugins, orders, events, tasks, calls, keys, audit, doctor):
        app.include_router(room.router)
    schemas.describe(app)
    listening = asyncio.create_task(journal.run())
    knowing = asyncio.create_task(ring.follow())
    app.state.background.watch("keys", knowing)
    app.state.background.watch("journal", listening)
    recording = asyncio.create_task(audit_log.follow())
    app.state.background.watch("audit", recording)
    await asyncio.sleep(0)  # let it subscribe
    try:
        yield
    finally:
        journal.end()
        await asyncio.wait({listening}, timeout=CLOSE_SECONDS)
        if not listening.done():
            _log.warning("the latest events are lost: they could not be written in time")
        listening.cancel()
        knowing.cancel()
        recording.cancel()
        await asyncio.gather(listening, knowing, recording, return_exceptions=True)
