"""xhooks: the signals by which the engine tells and everybody else listens.

Telling never waits and never raises, for no code of a listener runs in it. A listener pulls from its own bounded queue: a
slow or failing one loses its oldest events, is told how many, and heals by reading the status again. What a listener may
do: read what an event shows, which is the engine's own and never to be changed; await whatever it likes.

Threads: events are told on the engine's event loop. A listener may live on another thread with a loop of its own, as
integrations do, and is woken there; blocking, it stops itself alone. Subscribing, leaving and telling may meet at any moment.
A lock is held for a few instructions of ours, never while anything is awaited; it may be taken again by who has it, for a
listener that was forgotten may be collected, and leave, in the middle of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
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
    """An async iterator over events; `lost` counts what overflowed.

    Events may be offered, and `end` called, from any thread; `batch` and the iteration belong to one event loop.
    """

    def __init__(self, name: str, kinds: tuple[type[E], ...], size: int) -> None:
        self.name, self.lost = name, 0
        self._kinds = kinds
        self._queue: deque[E] = deque(maxlen=size)
        self._ended = False
        self._lock = threading.RLock()
        self._wake = asyncio.Event()
        # Where somebody waits to be woken: once, however many events come, for a loop that is blocked keeps all it is told.
        self._waits: tuple[asyncio.AbstractEventLoop, int] | None = None

    def offer(self, event: Event) -> int:
        """Take an event if it is of a kind that is wanted; returns how many were lost by that, 0 or 1."""
        if self._kinds and not isinstance(event, self._kinds):
            return 0
        with self._lock:
            if self._ended:
                return 0
            full = len(self._queue) == self._queue.maxlen
            self.lost += full
            self._queue.append(event)  # type: ignore[arg-type]  # its kind was just checked
            waits, self._waits = self._waits, None
        self._awake(waits)
        return int(full)

    def end(self) -> None:
        """No more is wanted: what waits is still given, then the iteration ends."""
        with self._lock:
            self._ended = True
            waits, self._waits = self._waits, None
        self._awake(waits)

    def _awake(self, waits: tuple[asyncio.AbstractEventLoop, int] | None) -> None:
        if waits is None:
            return
        loop, thread = waits
        if thread == threading.get_ident():
            self._wake.set()
            return
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits there any more
            loop.call_soon_threadsafe(self._wake.set)

    async def batch(self, most: int) -> list[E]:
        """Wait until there is an event; give all there are, oldest first, at most so many. Empty: it has ended."""
        while True:
            with self._lock:
                if self._queue or self._ended:
                    return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
                self._wake.clear()
                self._waits = asyncio.get_running_loop(), threading.get_ident()
            await self._wake.wait()

    async def __aiter__(self) -> AsyncIterator[E]:
        while events := await self.batch(1):
            yield events[0]


class HookBus:
    """One per manager. `emit` is for the engine's event loop, all else for any thread."""

    def __init__(self) -> None:
        self._lost: Counter[str] = Counter()
        self._lock = threading.RLock()
        # Replaced, never changed: `emit` goes through the one it found.
        self._subscriptions: tuple[Subscription[Any], ...] = ()

    @property
    def lost(self) -> Counter[str]:
        """How many events each listener has lost, by its name, for ever."""
        with self._lock:
            return Counter(self._lost)

    def emit(self, event: Event) -> None:
        for subscription in self._subscriptions:
            if lost := subscription.offer(event):
                with self._lock:
                    self._lost[subscription.name] += lost

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
        subscription: Subscription[E] = Subscription(name, kinds, size)
        with self._lock:
            if len(self._subscriptions) >= LISTENERS:
                raise XcoreError(f"{name} cannot listen: {LISTENERS} do already, and one of them leaves none")
            self._subscriptions = (*self._subscriptions, subscription)
            self._lost[name] += 0  # from now on it is seen to have lost nothing
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)
