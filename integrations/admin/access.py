"""Who may use the control plane: every route demands a scope, and a key that is for some plugins reaches no others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from integrations.background import Background
from integrations.gate import Gate, RateLimited, refusal
from integrations.grants import ANYBODY, Grant, Scope
from integrations.journal import Journal
from xcore.errors import Forbidden
from xcore.manager import Manager

MAX_STREAMS = 128  # of events and logs at once
_bearer = HTTPBearer(auto_error=False, description="A key")
_SCHEME = "bearer "


def enter(request: Request) -> Grant:
    """Who asks, kept with the request; raises Unauthenticated, RateLimited. With authentication off it is anybody."""
    gate: Gate | None = request.app.state.gate
    grant: Grant | None = ANYBODY
    if gate is not None:
        key = shown_key(request)
        grant = gate.known(key) if key is not None else None
        if grant is None:
            address = request.client.host if request.client else ""
            raise refusal(gate, address, shown="authorization" in request.headers)
    assert grant is not None
    request.state.grant, request.state.caller = grant, grant.id
    return grant


def shown_key(request: Request) -> bytes | None:
    """The credential of `Authorization: Bearer …`; None without one, and where there are two such fields."""
    shown = request.headers.getlist("authorization")
    if len(shown) != 1 or shown[0][: len(_SCHEME)].lower() != _SCHEME:
        return None
    return shown[0][len(_SCHEME) :].strip().encode("latin-1")


class Demand:
    """A dependency: the route wants this scope. `{name}` in a path is a plugin's name, and the key has to be for that one."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> None:
        # Who has come in is not asked again: what an integration answers is judged before its thread is given it.
        grant: Grant = getattr(request.state, "grant", None) or enter(request)
        if not grant.holds(self.scope):
            raise Forbidden(f"this takes {self.scope}, which a key with the role {grant.role} does not have")
        plugin = request.path_params.get("name")
        if plugin is not None and not grant.reaches(plugin):
            raise Forbidden(f"this key is not for {plugin}")


def demands(scope: Scope) -> Any:
    """What a route is declared with: `dependencies=[demands(Scope.KEYS_READ)]`."""
    return Depends(Demand(scope))


def _grant(request: Request) -> Grant:
    grant: Grant = request.state.grant
    return grant


def _manager(request: Request) -> Manager:
    manager: Manager = request.app.state.manager
    return manager


def _journal(request: Request) -> Journal:
    journal: Journal = request.app.state.journal
    return journal


def lasting(request: Request, items: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    """An answer that has no end of its own: it ends with the controller, and with the key it was asked for with.

    Raises RateLimited where there are as many as there may be.
    """
    background: Background = request.app.state.background
    if background.streams >= MAX_STREAMS:
        raise RateLimited(f"{MAX_STREAMS} follow logs and events already; try again in a moment")
    return background.lasting(items, _grant(request).id)


GrantOf = Annotated[Grant, Depends(_grant)]
ManagerOf = Annotated[Manager, Depends(_manager)]
JournalOf = Annotated[Journal, Depends(_journal)]
