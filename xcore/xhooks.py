"""xhooks: the signals by which the engine tells and everybody else listens.

Telling never waits and never raises. A listener pulls from its own bounded queue: a slow or failing one loses
its oldest events, is told how many, and heals by reading the status again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; `at` epoch seconds, `plugin` empty when it is about the engine itself."""

    plugin: str = ""
    at: float = field(default_factory=time.time)

    @property
    def kind(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerStarting(Event):
    """The engine begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerStopping(Event):
    """The engine is about to let go; requests are still being drained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDeclared(Event):
    """A manifest was accepted: new, or changed."""

    revision: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRefused(Event):
    """A manifest or folder was refused; what ran before runs on."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged(Event):
    """The status of a plugin, before and after: the objects the API shows."""

    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceExited(Event):
    """An instance ended and was not asked to."""

    instance: str
    reason: str
    exit_code: int | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpostorFound(Event):
    """Something else than the sandbox was at its socket; nothing was sent there."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRemoved(Event):
    """Nothing of this name is wanted any more."""


E = TypeVar("E", bound=Event)
QUEUE = 256


class Subscription(Generic[E]):
    """An async iterator over events; `lost` counts what overflowed."""

    def __init__(self, kinds: tuple[type[E], ...], size: int) -> None:
        self.lost = 0
        self._kinds = kinds
        self._queue: deque[E] = deque(maxlen=size)
        self._wake = asyncio.Event()

    def offer(self, event: Event) -> None:
        if self._kinds and not isinstance(event, self._kinds):
            return
        if len(self._queue) == self._queue.maxlen:
            self.lost += 1
        self._queue.append(event)  # type: ignore[arg-type]  # its kind was just checked
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[E]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            self._wake.clear()
            await self._wake.wait()


class HookBus:
    """One per manager. All calls are on the event loop's thread."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription[Any]] = []

    def emit(self, event: Event) -> None:
        for subscription in self._subscriptions:
            subscription.offer(event)

    @contextlib.contextmanager
    def subscribe(self, *kinds: type[E], size: int = QUEUE) -> Iterator[Subscription[E]]:
        """Hear events of these kinds (none given: all) for the time of the `with` block."""
        subscription: Subscription[E] = Subscription(kinds, size)
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)
