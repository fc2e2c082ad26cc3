"""What plugins of the system before this one import: `from xcore.sdk import TrustedBase, ok, error`.

For them alone (docs/howto/legacy.md); a plugin of today imports `xcore.plugin`. Not here: whatever reached into the old
system's own process, its shared services, hooks and repositories. Asking for one says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from xcore.plugin.calling import CallFailed, Calls, asked, nobody, result
from xcore.plugin.legacy.names import label

__all__ = ["AutoDispatchMixin", "BasePlugin", "PluginContext", "TrustedBase", "action", "error", "ok"]

F = TypeVar("F", bound=Callable[..., Any])
_ACTION = "_xcore_action"


@dataclass(frozen=True, slots=True)
class PluginContext:
    """`self.ctx` of a plugin: its name, what its manifest said beyond the known fields, its environment."""

    name: str
    config: Mapping[str, Any]
    env: Mapping[str, str]
    services: Mapping[str, Any] = field(default_factory=dict)
    calls: Calls = field(default=nobody, repr=False)

    def get_service(self, name: str) -> Any:
        raise KeyError(f"there is no service {name!r}: a plugin shares nothing with the platform")


class BasePlugin(Protocol):
    """What an old plugin is, whether it derives from anything or not."""

    async def handle(self, action: str, payload: dict[str, Any]) -> dict[str, Any]: ...


class TrustedBase:
    """Base class of old plugins; `ctx` is there from `on_load` on."""

    ctx: PluginContext | None = None

    @property
    def logger(self) -> logging.Logger:
        return logging.getLogger(f"plugin.{self.ctx.name}" if self.ctx else "plugin")

    def get_service(self, name: str) -> Any:
        if self.ctx is None:
            raise RuntimeError("the context is there from on_load on")
        return self.ctx.get_service(name)

    async def call_plugin(
        self, plugin_name: str, action: str, payload: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a plugin that `requires` names; a failure is told as `error` does."""
        if self.ctx is None:
            raise RuntimeError("the context is there from on_load on")
        try:
            return result(await self.ctx.calls(*asked(label(plugin_name), action, None, payload or {})), None)
        except CallFailed as failed:
            return error(failed.detail, code=failed.reason)


class AutoDispatchMixin:
    """`handle` by the names that `@action` gave to methods."""

    async def handle(self, action: str, payload: dict[str, Any]) -> Any:
        for name in dir(type(self)):
            if getattr(getattr(type(self), name, None), _ACTION, None) == action:
                return await getattr(self, name)(payload)
        return error(f"there is no action {action!r}", code="unknown_action")


def action(name: str, **_: Any) -> Callable[[F], F]:
    """Mark a method for AutoDispatchMixin. Permissions given beside the name mean nothing here: keys have them."""

    def mark(method: F) -> F:
        setattr(method, _ACTION, name)
        return method

    return mark


def ok(data: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"status": "ok", **(data or {}), **more}


def error(msg: str, code: str | None = None, **more: Any) -> dict[str, Any]:
    return {"status": "error", "msg": msg, **({"code": code} if code else {}), **more}
