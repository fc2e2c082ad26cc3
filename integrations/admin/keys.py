"""`/api/v1/keys`: making, listing and revoking keys. A key itself is told once, in the answer to the request that made it."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from integrations.admin.access import GrantOf, ManagerOf, demands
from integrations.admin.answers import matched
from integrations.admin.audited import Audited
from integrations.admin.named import KeyId
from integrations.admin.schemas import KEY, KEYS, MADE_KEY, NEW_KEY, REVOKED_KEY
from integrations.admin.upload import UnsupportedMediaType, is_json, text
from integrations.database.tables_keys import KeyRow
from integrations.grants import Scope
from integrations.keyring import KeyRing, Wish, version
from integrations.newkey import new_key
from integrations.once import Done, Once, claim
from xcore.clock import rfc3339
from xcore.manager import Manager

router = APIRouter(prefix="/api/v1/keys", tags=["keys"], route_class=Audited)
READS, WRITES = [demands(Scope.KEYS_READ)], [demands(Scope.KEYS_WRITE)]
MAX_PAGE = 500


def _ring(request: Request) -> KeyRing:
    ring: KeyRing = request.app.state.ring
    return ring


RingOf = Annotated[KeyRing, Depends(_ring)]


@router.post("", dependencies=WRITES, status_code=201, responses={201: MADE_KEY}, openapi_extra=NEW_KEY)
async def create_key(request: Request, ring: RingOf, manager: ManagerOf, grant: GrantOf) -> Response:
    """Make a key. `key` is in this answer alone: the same request again (`Idempotency-Key`) is answered without it."""
    if not is_json(request):
        raise UnsupportedMediaType("send application/json")
    body = await text(request)
    said, expires = new_key(body, now=time.time(), asked_for=_scopes(manager))
    claimed = claim(request, hashlib.sha256(body).hexdigest())
    made: list[tuple[KeyRow, str]] = []

    async def order() -> Done:
        wish = Wish(said, expires, grant.id, claimed.mark if claimed else "")
        row, key = await ring.create(wish)
        made.extend([(row, key)] if key is not None else [])
        return Done(row.id, 201)

    async def answer(done: Done) -> Response:
        return _response(made[0][0] if made else await ring.get(done.name), 201)

    once: Once = request.app.state.once
    response = await once.perform(claimed, order, answer)
    if not made:
        return response
    # Only now: what is remembered of an answer does not hold the key.
    row, key = made[0]
    headers = {**_headers(row, 201), "cache-control": "no-store"}
    return JSONResponse({**shown(row), "key": key}, 201, headers)


@router.get("", dependencies=READS, response_model=None, responses={200: KEYS})
async def list_keys(
    ring: RingOf,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    after: Annotated[str, Query(alias="continue", max_length=24, pattern="^[0-9a-f]*$")] = "",
) -> dict[str, Any]:
    """List keys in the order they were made, those that have ended too; without the administrator's first one."""
    rows = await ring.page(after, limit + 1)
    more = rows[limit - 1].id if len(rows) > limit else ""
    return {"items": [shown(row) for row in rows[:limit]], "metadata": {"continue": more}}


@router.get("/{id}", dependencies=READS, responses={200: KEY})
async def get_key(id: KeyId, ring: RingOf) -> Response:  # noqa: A002  # its name in the path
    """Give one key; its `ETag` is the version that `If-Match` compares."""
    return _response(await ring.get(id))


@router.delete("/{id}", dependencies=WRITES, responses={200: REVOKED_KEY})
async def revoke_key(id: KeyId, request: Request, ring: RingOf, grant: GrantOf) -> Response:  # noqa: A002
    """Revoke a key: here at once, everywhere within 5 s, with what it has under way. Revoked twice is revoked."""
    return _response(await ring.revoke(id, grant.id, matched(request)))


def _scopes(manager: Manager) -> set[str]:
    """Those that actions of plugins ask for."""
    declared = (action for route in manager.routes for action in route.manifest.spec.actions)
    return {scope for action in declared for scope in action.scopes}


def _response(row: KeyRow, status: int = 200) -> Response:
    return JSONResponse(shown(row), status, _headers(row, status))


def _headers(row: KeyRow, status: int) -> dict[str, str]:
    created = {"location": f"/api/v1/keys/{row.id}"} if status == 201 else {}
    return {"etag": f'"{version(row)}"', **created}


def shown(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "prefix": row.prefix,
        "plugins": row.plugins,
        "actions": row.actions,
        "scopes": row.scopes,
        "state": _state(row),
        "createdAt": rfc3339(row.at),
        "createdBy": row.by,
        "expiresAt": rfc3339(row.expires) if row.expires is not None else None,
        "revokedAt": rfc3339(row.revoked) if row.revoked is not None else None,
        "revokedBy": row.revoked_by,
    }


def _state(row: KeyRow) -> str:
    if row.revoked is not None:
        return "Revoked"
    return "Expired" if row.expires is not None and row.expires <= time.time() else "Active"
