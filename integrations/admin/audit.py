"""`/api/v1/audit`: who wanted to change what, and what came of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request

from integrations.admin.access import demands
from integrations.admin.schemas import AUDIT
from integrations.audit import Audit, Search
from integrations.grants import Scope
from integrations.moments import Moment, seconds

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])
MAX_PAGE = 500
_Name = Annotated[str, Query(max_length=255, pattern=r"^[^\x00]*$")]
_Time = Annotated[Moment | None, Query(description="A time with its zone (RFC 3339).")]


def _search(
    by: _Name = "",
    plugin: _Name = "",
    result: Literal["Done", "Refused", "Failed"] | None = None,
    since: _Time = None,
    until: _Time = None,
) -> Search:
    return Search(by, plugin, result or "", _seconds(since), _seconds(until))


def _seconds(at: str | None) -> float | None:
    return seconds(at) if at is not None else None


@router.get("", dependencies=[demands(Scope.AUDIT_READ)], response_model=None, responses={200: AUDIT})
async def get_audit(
    request: Request,
    search: Annotated[Search, Depends(_search)],
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    after: Annotated[int, Query(alias="continue", ge=0, le=2**53)] = 0,
) -> dict[str, Any]:
    """List orders, the newest first: `by` a key's id, for a plugin, with a result, in a time. `metadata.head` is the end of the chain."""
    audit: Audit = request.app.state.audit
    wanted = Search(search.by, search.plugin, search.result, search.since, search.until, after)
    found, (number, hashed) = await audit.page(wanted, limit + 1)
    more = found[limit - 1]["number"] if len(found) > limit else 0
    return {
        "items": found[:limit],
        "metadata": {"continue": more, "head": {"number": number, "hash": hashed}},
    }
