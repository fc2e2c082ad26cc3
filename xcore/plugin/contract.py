"""The plugin contract: a class with typed actions. Refuses nothing here; signatures are judged when a plugin loads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from xcore.plugin.calling import SERVING, Calls, asked, nobody, result

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

MARK = "__xcore_action__"


@dataclass(frozen=True, slots=True)
class ActionMark:
    """What `@action` leaves on a method: its public name (None: the method's own) and whether GET may call it."""

    name: str | None
    safe: bool


@dataclass(frozen=True, slots=True)
class Context:
    """Who the plugin is and what it was given: `self.context`, set before `startup`. `secrets` by `name/key`."""

    name: str
    version: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("plugin"))
    calls: Calls = field(default=nobody, repr=False)

    @property
    def caller(self) -> str:
        """The plugin whose request is being served; empty for a request from outside."""
        return SERVING.get().caller

    @overload
    async def call(
        self, plugin: str, action: str, body: bytes | None = None, /, *, returns: type[R], **arguments: Any
    ) -> R: ...
    @overload
    async def call(self, plugin: str, action: str, body: bytes | None = None, /, **arguments: Any) -> Any: ...
    async def call(
        self, plugin: str, action: str, body: bytes | None = None, /, *, returns: Any = None, **arguments: Any
    ) -> Any:
        """Call another plugin's action and give its result: JSON as data (of the type `returns`), else bytes.

        `arguments` are its JSON object, or its query beside a raw `body`. Raises CallFailed: the other one failed, is
        not there or not allowed (`spec.calls`, and the operator's leave), or time is up: it gets what is left of the
        request that is being served.
        """
        return result(await self.calls(*asked(plugin, action, body, arguments)), returns)


@dataclass(frozen=True, slots=True)
class Response:
    """Any answer an action wants to give instead of JSON: `content` is sent as it is (str as UTF-8).

    What cannot be sent fails the request: a status outside 200 to 599, control characters in a header, headers
    that belong to the platform (content-length, connection, ...) or are given elsewhere (content-type).
    """

    content: bytes | str | None = b""
    media_type: str = "application/octet-stream"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Plugin:
    """Derive from it, mark methods with `@action`; override the three hooks as needed, async or (in a thread) sync.

    One instance serves all requests of a process. `startup` ends before the first request and may raise:
    the plugin is then not started. `health` may raise or return False: the plugin is then not ready.
    `__init__` takes nothing; `self.context` is there before it runs.
    """

    context: Context

    async def startup(self) -> None:
        """Called once, before the first request."""

    async def shutdown(self) -> None:
        """Called once, after the last request, if `startup` has ended well."""

    async def health(self) -> bool:
        """Tell whether requests can be served now."""
        return True


@overload
def action(method: F, /) -> F: ...
@overload
def action(*, name: str | None = None, safe: bool = False) -> Callable[[F], F]: ...


def action(method: Any = None, /, *, name: str | None = None, safe: bool = False) -> Any:
    """Make a method callable as `POST /app/<plugin>/<name>`; `safe=True` answers GET too, with query parameters.

    Actions are inherited; a method that overrides one is an action only if it is marked itself.
    """

    def mark(function: Any) -> Any:
        if isinstance(function, str):
            raise TypeError("the public name of an action is given as @action(name=...)")
        setattr(function, MARK, ActionMark(name, safe))
        return function

    return mark if method is None else mark(method)
