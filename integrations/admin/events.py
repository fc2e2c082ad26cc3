"""`/api/v1/events` and `/api/v1/plugins/{name}/events`: what happened, page by page, or as it happens (server-sent events)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from integrations.admin.access import GrantOf, JournalOf, ManagerOf, demands, lasting
from integrations.admin.named import EventKind, PluginName
from integrations.admin.schemas import AS_IT_WAS, EVENTS
from integrations.admin.upload import MalformedRequest
from integrations.grants import Scope
from integrations.journal import Journal, Wanted
from integrations.moments import Moment, seconds
from integrations.telling import kinds
from xcore.errors import Invalid, Problem

router = APIRouter(prefix="/api/v1", tags=["events"], dependencies=[demands(Scope.EVENTS_READ)])

MAX_PAGE = 500
MAX_NUMBER = 2**63 - 1
_NUMBER = re.compile(r"[0-9]{1,19}")


class InvalidQuery(Invalid):
    reason = "InvalidArguments"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants to see."""

    kind: str | None
    since: float | None
    limit: int
    before: int | None
    live: bool
    after: int | None
    known: frozenset[str]


def _asked(
    request: Request,
    kind: Annotated[EventKind | None, Query(max_length=64, description="Only of this kind.")] = None,
    since: Annotated[Moment | None, Query(description="Only from then on (RFC 3339).")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    before: Annotated[
        int | None, Query(alias="continue", ge=1, le=MAX_NUMBER, description="Of the page before.")
    ] = None,
) -> Asked:
    if kind is not None and kind not in kinds():
        raise InvalidQuery(
            "there are no such events", [Problem("kind", f"must be one of {', '.join(kinds())}")]
        )
    last = request.headers.get("last-event-id")
    if last is not None and not (_NUMBER.fullmatch(last) and int(last) <= MAX_NUMBER):
        raise MalformedRequest("Last-Event-ID must be the id of an event: a whole number")
    tags = request.headers.get("if-none-match", "").split(",")
    return Asked(
        kind=kind,
        since=seconds(since) if since is not None else None,
        limit=limit,
        before=before,
        live="text/event-stream" in request.headers.get("accept", ""),
        after=int(last) if last is not None else None,
        known=frozenset(tag.strip().removeprefix("W/") for tag in tags),
    )


AskedOf = Annotated[Asked, Depends(_asked)]


@router.get("/events", responses={200: EVENTS, 304: AS_IT_WAS})
async def events(
    request: Request,
    journal: JournalOf,
    asked: AskedOf,
    grant: GrantOf,
    plugin: Annotated[str | None, Query(max_length=320, description="Only of this plugin.")] = None,
) -> Response:
    """Give what happened to the plugins that the key is for, the newest first; with `Accept: text/event-stream` what happens, from `Last-Event-ID` or now on."""
    return await _answer(request, journal, asked, Wanted(plugin, asked.kind, asked.since, grant.plugins))


@router.get("/plugins/{name}/events", responses={200: EVENTS, 304: AS_IT_WAS})
async def plugin_events(
    name: PluginName, request: Request, journal: JournalOf, manager: ManagerOf, asked: AskedOf
) -> Response:
    """The same for one plugin, also when it is no more."""
    if name not in manager.names():
        found, _ = await journal.page(Wanted(plugin=name), limit=1)
        if not found:
            manager.get(name)
    return await _answer(request, journal, asked, Wanted(name, asked.kind, asked.since))


async def _answer(request: Request, journal: Journal, asked: Asked, wanted: Wanted) -> Response:
    if asked.live:
        return await _live(request, journal, asked, wanted)
    items, more = await journal.page(wanted, limit=asked.limit, before=asked.before)
    tag = f'"{items[0]["id"]}-{items[-1]["id"]}-{len(items)}{"-" * more}"' if items else '"0"'
    if asked.known & {tag, "*"}:
        return Response(status_code=304, headers={"etag": tag})
    page = {"items": items, "metadata": {"continue": str(items[-1]["id"]) if more else ""}}
    return JSONResponse(page, headers={"etag": tag})


async def _live(request: Request, journal: Journal, asked: Asked, wanted: Wanted) -> Response:
    newest = await journal.newest()
    told = _stream(journal, wanted, newest if asked.after is None else min(asked.after, newest))
    return StreamingResponse(lasting(request, told), media_type="text/event-stream")


async def _stream(journal: Journal, wanted: Wanted, after: int) -> AsyncGenerator[str, None]:
    yield ": following\n\n"
    async with aclosing(journal.follow(wanted, after)) as events:
        async for event in events:
            yield _sent(event) if event is not None else ": nothing new\n\n"


def _sent(event: dict[str, Any]) -> str:
    return f"id: {event['id']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n"
