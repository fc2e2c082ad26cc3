"""`/api/v1/calls`: calls that are answered later. Whoever made one sees it, and an administrator sees all."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from integrations.admin.access import GrantOf, demands
from integrations.admin.audited import Audited
from integrations.admin.named import CallId
from integrations.admin.schemas import CALL, CALLS, SENT_AGAIN
from integrations.database.tables_tasks import CallRow
from integrations.grants import Grant, Role, Scope
from integrations.once import Done, Once, claim
from integrations.tasks.call import CallNotFound, CallState
from integrations.tasks.calls import Calls
from xcore.clock import rfc3339

router = APIRouter(prefix="/api/v1/calls", tags=["calls"], route_class=Audited)
READS = [demands(Scope.CALLS_READ)]

MAX_PAGE = 100
_PLACE = r"^([0-9]{1,10}(\.[0-9]{1,9})?~[0-9a-f]{32})?$"  # a time and an id


def _calls(request: Request) -> Calls:
    calls: Calls = request.app.state.calls
    return calls


CallsOf = Annotated[Calls, Depends(_calls)]


@router.get("", dependencies=READS, response_model=None, responses={200: CALLS})
async def list_calls(
    calls: CallsOf,
    grant: GrantOf,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    state: CallState | None = None,
    after: Annotated[str, Query(alias="continue", max_length=64, pattern=_PLACE)] = "",
) -> dict[str, Any]:
    """List calls, the newest first, without their answers; `metadata.continue` of one page is the `continue` of the next."""
    caller = None if grant.role is Role.ADMIN else grant.id
    rows = await calls.latest(caller=caller, state=state, before=_place(after), limit=limit + 1)
    page = rows[:limit]
    more = f"{page[-1].at!r}~{page[-1].id}" if len(rows) > limit else ""
    return {"items": [_shown(row) for row in page], "metadata": {"continue": more}}


@router.get("/{call_id}", dependencies=READS, responses={200: CALL})
async def get_call(call_id: CallId, calls: CallsOf, grant: GrantOf) -> Response:
    """Give one call: how far it is and, once it has ended, its answer."""
    row = await _own(calls, grant, call_id)
    waiting = {} if row.ended is not None else {"retry-after": "1"}
    return JSONResponse({**_shown(row), "result": _result(row)}, headers=waiting)


@router.post(
    "/{call_id}/retry",
    status_code=202,
    dependencies=[demands(Scope.ACTIONS_CALL)],
    responses={202: SENT_AGAIN},
)
async def retry_call(call_id: CallId, request: Request, calls: CallsOf, grant: GrantOf) -> Response:
    """Have a dead letter sent again, with all its attempts."""
    await _own(calls, grant, call_id)
    once: Once = request.app.state.once

    async def order() -> Done:
        await calls.retry(call_id)
        return Done("", 202)

    async def answer(done: Done) -> Response:
        return accepted(await calls.get(call_id), done.status)

    return await once.perform(claim(request), order, answer)


def accepted(row: CallRow, status: int = 202) -> JSONResponse:
    """The answer to whoever made the call: where to look for it."""
    return JSONResponse(_shown(row), status, {"location": f"/api/v1/calls/{row.id}"})


async def _own(calls: Calls, grant: Grant, call_id: str) -> CallRow:
    row = await calls.get(call_id)
    if grant.role is not Role.ADMIN and row.caller != grant.id:
        raise CallNotFound(f"there is no call {call_id[:32]!r}")
    return row


def _place(after: str) -> tuple[float, str] | None:
    if not after:
        return None
    at, _, name = after.partition("~")
    return float(at), name


def _shown(row: CallRow) -> dict[str, Any]:
    waits = row.state == CallState.QUEUED and row.attempts > 0
    return {
        "id": row.id,
        "state": row.state,
        "plugin": row.plugin,
        "action": row.action,
        "caller": row.caller,
        "idempotencyKey": row.key,
        "created": rfc3339(row.at),
        "attempts": row.attempts,
        "nextAttempt": rfc3339(row.ready) if waits else None,
        "ended": rfc3339(row.ended) if row.ended is not None else None,
        "reason": row.reason,
        "detail": row.detail,
    }


def _result(row: CallRow) -> dict[str, Any] | None:
    """The plugin's answer: `body` as JSON where it is that, else as text, else in base64, as `encoding` says."""
    if row.ended is None or row.status is None:
        return None
    encoding, body = _body(row)
    return {
        "status": row.status,
        "mediaType": row.media_type,
        "encoding": encoding,
        "body": body,
        "cut": row.cut,
    }


def _body(row: CallRow) -> tuple[str, Any]:
    if "json" in row.media_type and not row.cut:
        with contextlib.suppress(ValueError, RecursionError):
            return "json", _json(row.answer)
    with contextlib.suppress(UnicodeDecodeError):
        return "text", row.answer.decode()
    return "base64", base64.b64encode(row.answer).decode()


def _json(answer: bytes) -> Any:
    """Raises ValueError also where Python alone takes it for JSON, and no answer of ours can hold it: NaN, half a surrogate pair."""
    value = json.loads(answer)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value
