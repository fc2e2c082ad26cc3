"""Whether a request may go on: judged from its head and its plugin's manifest, cheapest question first. Pure."""

from __future__ import annotations

from controller.dataplane.request import Refusal, Request
from controller.dataplane.way import Policy, Way
from integrations.gate import Gate, refusal
from integrations.grants import Grant
from xcore.routes import Route

IN_DOUBT = "stopped while it had this request; it may or may not have been carried out"
_NO_SCOPES: frozenset[str] = frozenset()


def admit(request: Request, way: Way, gate: Gate | None, address: str) -> Policy:
    """Give what holds for the action; raises Refusal. Nobody learns which plugins there are beyond those a key is for."""
    policy = way.policy(request.action) if way.route is not None else None
    if gate is not None and (policy is None or not policy.public):
        grant = request.grant = _entered(request, gate, address)
        why = grant.why_not(
            request.plugin, request.action, policy.scopes if policy is not None else _NO_SCOPES
        )
        if why is not None:
            raise Refusal("Forbidden", why)
    if policy is None:
        raise Refusal("PluginNotFound", f"there is no plugin {request.plugin!r}")
    if policy.methods and request.method not in policy.methods:
        allowed = b", ".join(sorted(policy.methods)).decode()
        raise Refusal("MethodNotAllowed", f"{request.action} answers {allowed}", allow=allowed)
    if request.length is not None and request.length > policy.max_body:
        raise too_large(policy)
    return policy


def _entered(request: Request, gate: Gate, address: str) -> Grant:
    grant = gate.known(request.key) if request.key is not None else None
    if grant is None:
        error = refusal(gate, address, shown=request.key is not None)
        limited = error.reason == "RateLimited"
        raise Refusal(error.reason, error.detail, retry_after=error.retry_after if limited else None)
    return grant


def too_large(policy: Policy) -> Refusal:
    return Refusal("BodyTooLarge", f"the body is over {policy.max_body} bytes")


def not_ready(plugin: str, route: Route | None, why: str = "") -> Refusal:
    """Tell that no instance can take the request now, and when to come back."""
    reason = f" ({route.reason})" if route is not None and route.reason else ""
    wait = 1.0 if route is None or route.targets else route.retry_after
    detail = f"{plugin} {why or f'is not ready{reason}'}"
    return Refusal("PluginNotReady", detail, retry_after=max(1, round(wait)))


def overdue(policy: Policy, request: Request, silent: float, *, begun: bool) -> Refusal | None:
    """Judge that nothing has moved for `silent` seconds. `begun`: the answer has."""
    if begun or not request.complete:
        if silent > policy.idle:
            return Refusal("IdleTimeout", f"nothing moved for {policy.idle:g} s")
    elif silent > policy.first_byte:
        detail = f"{request.plugin} did not begin to answer within {policy.first_byte:g} s"
        return Refusal("FirstByteTimeout", detail)
    return None
