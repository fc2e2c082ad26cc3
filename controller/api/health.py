"""`/healthz` (this process is alive) and `/readyz` (send it requests), for whoever runs the controller."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from integrations.background import Background
from integrations.database.database import Database
from xcore.manager import Manager

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer as long as the event loop turns."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """503 before the first sync and while draining; else 200, naming what is degraded."""
    state = request.app.state
    if state.plane.draining:
        return JSONResponse({"status": "draining"}, 503)
    if not state.manager.synced:
        return JSONResponse({"status": "starting"}, 503)
    beside = {*_background(state.background), *_database(state.database)}
    degraded = sorted({*state.degraded(), *beside, *_degraded(state.manager)})
    return JSONResponse({"status": "degraded" if degraded else "ok", "degraded": degraded})


def _background(background: Background) -> Iterator[str]:
    yield from (f"background: {name} has failed, the log says why" for name in background.failed)
    yield from (f"background: {name} is blocked, the log says where" for name in background.blocked)


def _database(database: Database) -> Iterator[str]:
    if database.away is not None:
        yield f"database: {database.away}"


def _degraded(manager: Manager) -> Iterator[str]:
    """The engine that is away must not take the data plane out of its Service: it is named, no more."""
    for name in manager.names():
        for condition in manager.get(name)["status"]["conditions"]:
            if condition["reason"] == "RuntimeUnavailable":
                yield f"runtime: {condition['message']}"
