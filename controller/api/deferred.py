"""Calls with `Prefer: respond-async` (RFC 7240): judged as every request is, taken in, and answered 202. They are made later."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from controller.dataplane.admission import admit
from controller.dataplane.plane import DataPlane
from controller.dataplane.request import Refusal, Request as Head
from controller.dataplane.target import parse_target
from controller.dataplane.way import Policy
from integrations.admin.calls import accepted
from integrations.admin.upload import MalformedRequest, bounded
from integrations.gate import Unauthenticated
from integrations.grants import ANYBODY, Grant
from integrations.once import MAX_KEY, InvalidKey
from integrations.tasks.call import MAX_BODY, Order
from integrations.tasks.calling import Sent
from integrations.tasks.calls import Calls
from xcore.errors import XcoreError

router = APIRouter(include_in_schema=False)
# Of the client's fields, those that mean nothing once it has left.
_LEFT_OUT = frozenset({"cookie", "idempotency-key"})


@router.api_route("/app/{rest:path}", methods=["POST", "PUT", "PATCH", "DELETE"], status_code=202)
async def defer(request: Request) -> Response:
    """Take in a call; the data plane sends on to here who would rather not wait."""
    plane: DataPlane = request.app.state.plane
    calls: Calls = request.app.state.calls
    head = _head(request)
    address = request.client.host if request.client else ""
    try:
        policy = admit(head, plane.ways.get(head.plugin, plane.nowhere), plane.gate, address)
    except Refusal as refusal:
        error = XcoreError(refusal.detail)
        error.reason, error.retry_after = refusal.reason, refusal.retry_after or 1
        raise error from None
    grant = head.grant or _grant(plane, head)
    row = await calls.accept(await _order(request, head, policy, grant))
    answer = accepted(row)
    answer.headers["preference-applied"] = "respond-async"
    return answer


def _head(request: Request) -> Head:
    scope = request.scope
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    head = Head(scope["method"].encode(), scope["raw_path"] + query, "1.1", request.headers.raw)
    target = parse_target(head.target)
    if target is None or not target.action:
        raise MalformedRequest("only an action of a plugin can be called so: /app/<plugin>/<action>")
    head.plugin, head.action = target
    return head


def _grant(plane: DataPlane, head: Head) -> Grant:
    """Of a public action: nobody has asked for the key yet, and the call will be its owner's."""
    grant = ANYBODY if plane.gate is None else plane.gate.known(head.key or b"")
    if grant is None:
        raise Unauthenticated
    return grant


async def _order(request: Request, head: Head, policy: Policy, grant: Grant) -> Order:
    key = request.headers.get("idempotency-key", "")
    if len(key) > MAX_KEY or not key.isascii() or not (key.isprintable() or not key):
        raise InvalidKey(f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters")
    headers = tuple(field for field in head.fields() if field[0] not in _LEFT_OUT)
    body = await bounded(request, min(policy.max_body, MAX_BODY))
    sent = Sent(request.method, head.target.decode("ascii"), headers, body)
    return Order(grant.id, key, head.plugin, head.action, sent, policy.total)
