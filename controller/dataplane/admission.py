"""Whether a request may go on: judged from its head and its plugin's manifest, cheapest question first. Pure."""

from __future__ import annotations

from collections.abc import Callable

from controller.dataplane.request import Refusal, Request
from controller.dataplane.way import Policy, Way
from xcore.routes import Route

IN_DOUBT = "stopped while it had this request; it may or may not have been carried out"


def admit(request: Request, way: Way, authorized: Callable[[bytes], bool] | None) -> Policy:
    """Give what holds for the action; raises Refusal. Without a key nobody learns which plugins there are."""
    policy = way.policy(request.action) if way.route is not None else None
    if authorized is not None and (policy is None or not policy.public):
        key = request.key
        if key is None or not authorized(key):
            raise Refusal("Unauthenticated", "a valid key is needed: Authorization: Bearer <key>")
    if policy is None:
        raise Refusal("PluginNotFound", f"there is no plugin {request.plugin!r}")
    if policy.methods and request.method not in policy.methods:
        allowed = b", ".join(sorted(policy.methods)).decode()
        raise Refusal("MethodNotAllowed", f"{request.action} answers {allowed}", allow=allowed)
    if request.length is not None and request.length > policy.max_body:
        raise too_large(policy)
    return policy


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
