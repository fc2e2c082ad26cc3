"""Who may use the control plane: for now, whoever holds the administrator's key."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from integrations.background import Background
from integrations.journal import Journal
from integrations.keys import AdminKey, Unauthenticated
from xcore.manager import Manager

ADMIN, ANYBODY = "admin", "anybody"  # who asked: the one key's name, and with authentication off
_bearer = HTTPBearer(auto_error=False, description="The administrator's key")


def require_key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Refuse whoever does not show the key; settings may switch authentication off on loopback."""
    key: AdminKey | None = request.app.state.admin_key
    if key is not None and (credentials is None or not key.accepts(credentials.credentials.encode())):
        raise Unauthenticated("a valid key is needed: Authorization: Bearer <key>")
    request.state.caller = ADMIN if key is not None else ANYBODY


def _manager(request: Request) -> Manager:
    manager: Manager = request.app.state.manager
    return manager


def _journal(request: Request) -> Journal:
    journal: Journal = request.app.state.journal
    return journal


def background_of(request: Request) -> Background:
    background: Background = request.app.state.background
    return background


ManagerOf = Annotated[Manager, Depends(_manager)]
JournalOf = Annotated[Journal, Depends(_journal)]
