"""What a key allows: a role, which gives scopes of the control plane, and limits of its own. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf


class Role(StrEnum):
    """What somebody is here for. Each one's scopes are in `SCOPES`."""

    ADMIN = "admin"
    OPERATOR = "operator"
    CALLER = "caller"
    VIEWER = "viewer"


class Scope(StrEnum):
    """What a route demands, and a role gives."""

    PLUGINS_READ = "plugins:read"
    PLUGINS_WRITE = "plugins:write"
    PLUGINS_OPERATE = "plugins:operate"
    LOGS_READ = "logs:read"
    EVENTS_READ = "events:read"
    TASKS_READ = "tasks:read"
    TASKS_RUN = "tasks:run"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    AUDIT_READ = "audit:read"
    DOCTOR_READ = "doctor:read"
    CALLS_READ = "calls:read"
    INTEGRATIONS_USE = "integrations:use"
    ACTIONS_CALL = "actions:call"


_CALLER = {Scope.ACTIONS_CALL, Scope.CALLS_READ}
_VIEWER = {Scope.PLUGINS_READ, Scope.LOGS_READ, Scope.EVENTS_READ, Scope.TASKS_READ}
SCOPES: dict[Role, AbstractSet[Scope]] = {
    Role.ADMIN: frozenset(Scope),
    Role.OPERATOR: frozenset(
        {
            *_CALLER,
            *_VIEWER,
            Scope.PLUGINS_WRITE,
            Scope.PLUGINS_OPERATE,
            Scope.TASKS_RUN,
            Scope.INTEGRATIONS_USE,
        }
    ),
    Role.CALLER: frozenset(_CALLER),
    Role.VIEWER: frozenset(_VIEWER),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """One key, as it is known wherever it may be shown. `digest`: its SHA-256; `expires`: seconds since the epoch.

    `plugins` and `actions` None: all of them. `scopes` are those that actions with `access: Scoped` ask for; an admin has all.
    """

    id: str
    role: Role
    digest: bytes = field(default=b"", repr=False)
    name: str = ""
    prefix: str = ""
    plugins: AbstractSet[str] | None = None
    actions: AbstractSet[str] | None = None
    scopes: AbstractSet[str] = frozenset()
    expires: float = inf

    def holds(self, scope: Scope) -> bool:
        return scope in SCOPES[self.role]

    def reaches(self, plugin: str) -> bool:
        """Whether it is for this plugin, whatever it may do there."""
        return self.plugins is None or plugin in self.plugins

    def why_not(self, plugin: str, action: str, scopes: AbstractSet[str] = frozenset()) -> str | None:
        """Tell why it may not call an action that asks for these scopes; None when it may."""
        if self.role is Role.ADMIN:
            return None
        if not self.holds(Scope.ACTIONS_CALL):
            return f"a key with the role {self.role} calls no actions"
        if not self.reaches(plugin):
            return f"this key is not for {plugin}"
        if self.actions is not None and action not in self.actions:
            return f"this key is not for {action or 'the description'} of {plugin}"
        if not scopes <= self.scopes:
            return f"this key lacks {', '.join(sorted(scopes - self.scopes))}"
        return None


ANYBODY = Grant("anybody", Role.ADMIN)  # who asks where authentication is off
