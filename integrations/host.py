"""What an integration is given. An integration is a third party's code in the controller's process: it may listen, look,
answer routes of its own and work in the background. How one is written: docs/howto/integrations.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import APIRouter

from integrations.background import Background
from integrations.database.database import Database
from xcore.xhooks import QUEUE, E, HookBus, Subscription


class Plugins(Protocol):
    """The part of the Manager that may be read. Both answer at once."""

    def names(self) -> Sequence[str]: ...

    def get(self, name: str) -> Mapping[str, Any]:
        """Give one Plugin resource, with its status; raises PluginNotFound."""


@dataclass(frozen=True, slots=True)
class Host:
    """`settings`: what the operator wrote for this integration. `router`: routes below /api/v1/integrations/<name>, which
    demand the scope `integrations:use`; add them before the context manager yields.
    """

    name: str
    settings: Mapping[str, Any]
    plugins: Plugins
    router: APIRouter
    database: Database
    bus: HookBus
    background: Background

    def subscribe(self, *kinds: type[E], size: int = QUEUE) -> AbstractContextManager[Subscription[E]]:
        """Hear events of these kinds (none given: all) for the time of the `with` block; so many may wait, then the oldest go."""
        return self.bus.subscribe(*kinds, name=self.name, size=size)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it in the background until it ends, or until the controller is to end: then `stopping` is set, and it has
        `ManagerStopping.grace` seconds before it is cancelled.
        """
        return self.background.spawn(f"integration {self.name}", work)

    @property
    def stopping(self) -> asyncio.Event:
        return self.background.stopping


Integration = Callable[[Host], AbstractAsyncContextManager[None]]
