"""What an integration is given. An integration is a third party's code in the controller's process, on a thread and an event
loop of its own: it may listen, look, answer routes of its own and work in the background. How one is written:
docs/howto/integrations.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import APIRouter

from integrations.apart import Apart
from xcore.xhooks import QUEUE, E, HookBus, Subscription


class Plugins(Protocol):
    """The part of the Manager that may be read."""

    def names(self) -> Sequence[str]: ...

    def get(self, name: str) -> Mapping[str, Any]:
        """Give one Plugin resource, with its status; raises PluginNotFound."""


class AskedFor:
    """Plugins asked for on the loop that knows them, whoever asks from elsewhere: at once, or after ASK_SECONDS XcoreError."""

    def __init__(self, plugins: Plugins, apart: Apart) -> None:
        self._plugins, self._apart = plugins, apart

    def names(self) -> Sequence[str]:
        return self._apart.ask(self._plugins.names)

    def get(self, name: str) -> Mapping[str, Any]:
        return self._apart.ask(self._plugins.get, name)


@dataclass(frozen=True, slots=True)
class Host:
    """`settings`: what the operator wrote for this integration. `plugins` may be asked from any thread. `router`: routes below
    /api/v1/integrations/<name>, which demand the scope `integrations:use`; add them before the context manager yields.
    """

    name: str
    settings: Mapping[str, Any]
    plugins: Plugins
    router: APIRouter
    bus: HookBus
    apart: Apart

    def subscribe(self, *kinds: type[E], size: int = QUEUE) -> AbstractContextManager[Subscription[E]]:
        """Hear events of these kinds (none given: all) for the time of the `with` block; so many may wait, then the oldest go."""
        return self.bus.subscribe(*kinds, name=self.name, size=size)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it in the background until it ends, or until the controller is to end: then `stopping` is set, and it has
        `ManagerStopping.grace` seconds before it is cancelled. The task is one of the integration's own loop, where this is
        called.
        """
        return self.apart.spawn(work)

    @property
    def stopping(self) -> asyncio.Event:
        return self.apart.stopping


Integration = Callable[[Host], AbstractAsyncContextManager[None]]
