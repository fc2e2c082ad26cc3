"""`/api/v1/events` and `/api/v1/plugins/{name}/events`: what happened lately, or as it happens (server-sent events)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from integrations.admin.access import GrantOf, JournalOf, ManagerOf, background_of, demands
from integrations.grants import Grant, Scope
from integrations.journal import Journal

router = APIRouter(prefix="/api/v1", tags=["events"], dependencies=[demands(Scope.EVENTS_READ)])


@router.get("/events")
async def events(request: Request, journal: JournalOf, grant: GrantOf) -> Response:
    """Give the latest events of all plugins; with `Accept: text/event-stream`, the coming ones."""
    return _answer(request, journal, grant, None)


@router.get("/plugins/{name}/events")
async def plugin_events(
    name: str, request: Request, journal: JournalOf, manager: ManagerOf, grant: GrantOf
) -> Response:
    """The same for one plugin."""
    manager.get(name)
    return _answer(request, journal, grant, name)


def _answer(request: Request, journal: Journal, grant: Grant, plugin: str | None) -> Response:
    if "text/event-stream" in request.headers.get("accept", ""):
        told = background_of(request).until_stopping(_stream(journal, grant, plugin))
        return StreamingResponse(told, media_type="text/event-stream")
    return JSONResponse({"items": [each for each in journal.latest(plugin) if grant.reaches(each["plugin"])]})


async def _stream(journal: Journal, grant: Grant, plugin: str | None) -> AsyncGenerator[str, None]:
    yield ": following\n\n"
    async for event in journal.follow(plugin):
        if grant.reaches(event["plugin"]):
            yield f"event: {event['kind']}\ndata: {json.dumps(event)}\n\n"
