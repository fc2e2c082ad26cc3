"""A route whose orders are in the audit: whatever changes something is one of these. Reading is not recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from integrations.admin.access import shown_key
from integrations.audit import Audit, Record
from integrations.gate import Gate
from integrations.grants import Grant

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST = 512  # of a path, in the record
_PLUGINS = "/api/v1/plugins/"


class Audited(APIRoute):
    """`APIRouter(…, route_class=Audited)`. What it answers is held back until it is recorded."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in _SAFE:
            await super().handle(scope, receive, send)
            return
        request, answer = Request(scope), _Answer()
        audit: Audit = request.app.state.audit
        known = _is_known(request)
        if known:
            await audit.demand()
        began, at = time.monotonic(), time.time()
        try:
            await super().handle(scope, receive, answer.hold)
        finally:
            record = _record(request, answer, self.path, (at, time.monotonic() - began))
            # Whoever asked may be gone by now; what was done is recorded all the same.
            await asyncio.shield(audit.append(record) if known else audit.refused(record))
        for message in answer.messages:
            await send(message)


class _Answer:
    """An answer that waits. None of them is large: resources, problems."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def hold(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        """500 where there is none: what was raised is an error of ours."""
        return int(self.messages[0]["status"]) if self.messages else 500

    @property
    def headers(self) -> Mapping[str, str]:
        return Headers(raw=self.messages[0]["headers"] if self.messages else [])


def _is_known(request: Request) -> bool:
    gate: Gate | None = request.app.state.gate
    key = shown_key(request)
    return gate is None or (key is not None and gate.known(key) is not None)


def _record(request: Request, answer: _Answer, route: str, took: tuple[float, float]) -> Record:
    grant: Grant | None = getattr(request.state, "grant", None)
    created = answer.headers.get("location", "")
    name: Any = request.path_params.get("name") or (
        created.removeprefix(_PLUGINS) if created.startswith(_PLUGINS) else ""
    )
    return Record(
        by=grant.id if grant else "",
        role=grant.role.value if grant else "",
        key=grant.prefix if grant else "",
        address=request.client.host if request.client else "",
        method=request.method,
        route=route,
        path=request.scope.get("raw_path", b"").decode("latin-1")[:_LONGEST],
        plugin=str(name)[:255].replace("\0", ""),
        created=created[:_LONGEST],
        status=answer.status,
        result="Done" if answer.status < 400 else "Refused" if answer.status < 500 else "Failed",
        reason=answer.headers.get("xcore-reason", "" if answer.messages else "Internal"),
        request_id=getattr(request.state, "request_id", ""),
        at=took[0],
        seconds=took[1],
    )
