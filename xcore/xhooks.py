"""xhooks: the signals by which the engine tells and everybody else listens.

Telling never waits and never raises, for no code of a listener runs in it. A listener pulls from its own bounded queue: a
slow or failing one loses its oldest events, is told how many, and heals by reading the status again. What a listener may
do: read what an event shows, which is the engine's own and never to be changed; await whatever it likes; work in a thread
when it would hold the event loop. One that blocks the loop cannot be contained, only seen (`xcore_loop_lag_seconds`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from xcore.errors import XcoreError
from xcore.manifest import Manifest


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
    """The controller was asked to end, and nothing has ended yet: requests are served, background work has `grace` seconds."""

    grace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDeclared(Event):
    """A manifest was accepted: new (`before` is None then), or changed."""

    revision: str
    generation: int
    before: Manifest | None
    after: Manifest


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
    """Nothing of this name is wanted any more, and nothing of it runs; `before` is the status it had last."""

    before: Mapping[str, Any] | None


E = TypeVar("E", bound=Event)
QUEUE, LONGEST_QUEUE = 256, 4096
LISTENERS = 256


class Subscription(Generic[E]):
    """An async iterator over events; `lost` counts what overflowed."""

    def __init__(self, name: str, kinds: tuple[type[E], ...], size: int) -> None:
        self.name, self.lost = name, 0
        self._kinds = kinds
        self._queue: deque[E] = deque(maxlen=size)
        self._wake = asyncio.Event()
        self._ended = False

    def offer(self, event: Event) -> int:
        """Take an event if it is of a kind that is wanted; returns how many were lost by that, 0 or 1."""
        if self._ended or (self._kinds and not isinstance(event, self._kinds)):
            return 0
        full = len(self._queue) == self._queue.maxlen
        self.lost += full
        self._queue.append(event)  # type: ignore[arg-type]  # its kind was just checked
        self._wake.set()
        return int(full)

    def end(self) -> None:
        """No more is wanted: what waits is still given, then the iteration ends."""
        self._ended = True
        self._wake.set()

    async def batch(self, most: int) -> list[E]:
        """Wait until there is an event; give all there are, oldest first, at most so many. Empty: it has ended."""
        while not self._queue and not self._ended:
            self._wake.clear()
            await self._wake.wait()
        return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    async def __aiter__(self) -> AsyncIterator[E]:
        while events := await self.batch(1):
            yield events[0]


class HookBus:
    """One per manager. All calls are on the event loop's thread. `lost` counts by listener's name, for ever."""

    def __init__(self) -> None:
        self.lost: Counter[str] = Counter()
        self._subscriptions: list[Subscription[Any]] = []

    def emit(self, event: Event) -> None:
        for subscription in self._subscriptions:
            self.lost[subscription.name] += subscription.offer(event)

    @contextlib.contextmanager
    def subscribe(self, *kinds: type[E], name: str, size: int = QUEUE) -> Iterator[Subscription[E]]:
        """Hear events of these kinds (none given: all) for the time of the `with` block.

        `name` is for the metric of what it loses. Wrong arguments are refused here, where they are the listener's own
        trouble: TypeError, ValueError, and XcoreError where there are too many listeners.
        """
        if not all(isinstance(kind, type) and issubclass(kind, Event) for kind in kinds):
            raise TypeError(f"{name} listens to {kinds}: kinds are classes of events, such as StatusChanged")
        if not 0 < size <= LONGEST_QUEUE:
            raise ValueError(f"{name} wants a queue of {size}: 1 to {LONGEST_QUEUE} events may wait")
        if len(self._subscriptions) >= LISTENERS:
            raise XcoreError(f"{name} cannot listen: {LISTENERS} do already, and one of them leaves none")
        subscription: Subscription[E] = Subscription(name, kinds, size)
        self._subscriptions.append(subscription)
        self.lost[name] += 0  # from now on it is seen to have lost nothing
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)
