"""The route table: which instances answer for which plugin. Written by the manager, read for every request.

A swap is one assignment. Whoever stops an instance waits until the table no longer names it and its last
request is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from xcore.clock import Clock, SystemClock
from xcore.endpoint import Endpoint
from xcore.manifest import Manifest

SWITCH_SECONDS = 1.0  # what a route may take to name another instance, however little time requests are given


# How long a request waits for an instance that is expected.
HOLD_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class Target:
    """One instance as requests see it. `inflight`: requests sent to it whose answer is not complete.

    `grace`: once it is drained, the seconds it has for that.
    """

    instance: str
    endpoint: Endpoint
    inflight: int = 0
    grace: float | None = None
    drained: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self) -> None:
        self.inflight += 1
        self.drained.clear()

    def leave(self) -> None:
        self.inflight -= 1
        if self.inflight == 0:
            self.drained.set()


@dataclass(frozen=True, slots=True)
class Route:
    """How requests to a plugin are treated.

    Requests are spread over `targets`. Without any, `hold` tells whether one is expected soon (requests wait); `reason`
    and `retry_after` (seconds) are what callers are told otherwise.
    """

    plugin: str
    manifest: Manifest
    targets: tuple[Target, ...] = ()
    hold: bool = False
    reason: str = ""
    retry_after: float = 1.0

    @property
    def target(self) -> Target | None:
        """Any one of them, for a question that each can answer."""
        return self.targets[0] if self.targets else None


class RouteTable:
    """Plugin name → Route, with a hint back: `on_suspect(name)` is called when an upstream did not behave."""

    def __init__(
        self,
        on_suspect: Callable[[str], None] = lambda _: None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.on_suspect = on_suspect
        self.on_impostor: Callable[[str, str], None] = lambda _plugin, _detail: None
        self._clock = clock or SystemClock()
        self._routes: dict[str, Route] = {}
        # By plugin as well: pods of two namespaces may have one name.
        self._targets: dict[tuple[str, str], Target] = {}
        self._listeners: list[Callable[[str], None]] = []

    def get(self, plugin: str) -> Route | None:
        return self._routes.get(plugin)

    def __iter__(self) -> Iterator[Route]:
        return iter(list(self._routes.values()))

    def target(self, plugin: str, instance: str, endpoint: Endpoint) -> Target:
        """Give the one Target of an instance, so that its count survives a re-put."""
        return self._targets.setdefault((plugin, instance), Target(instance, endpoint))

    def put(self, route: Route) -> None:
        self._routes[route.plugin] = route
        self._changed(route.plugin)

    def drop(self, plugin: str) -> None:
        self._routes.pop(plugin, None)
        self._changed(plugin)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call `listener(plugin)` after every change; it must not raise or wait."""
        self._listeners.append(listener)

    def _changed(self, plugin: str) -> None:
        named = {
            (route.plugin, target.instance) for route in self._routes.values() for target in route.targets
        }
        for key in [key for key, t in self._targets.items() if key not in named and not t.inflight]:
            del self._targets[key]
        for listener in self._listeners:
            listener(plugin)

    async def drain(self, plugin: str, instance: str, seconds: float) -> None:
        """Wait until no route names the instance and its requests are done, `seconds` at most."""
        until = self._clock.time() + seconds
        target = self._targets.get((plugin, instance))
        if target is not None:
            target.grace = seconds
        await self._unnamed(plugin, instance, max(seconds, SWITCH_SECONDS))
        left = until - self._clock.time()
        if target is not None and target.inflight and left > 0:
            await self._clock.wait(target.drained, left)

    async def _unnamed(self, plugin: str, instance: str, seconds: float) -> None:
        changed = asyncio.Event()

        def wake(_plugin: str) -> None:
            changed.set()

        until = self._clock.time() + seconds
        self._listeners.append(wake)
        try:
            while self._named(plugin, instance) and self._clock.time() < until:
                changed.clear()
                await self._clock.wait(changed, until - self._clock.time())
        finally:
            self._listeners.remove(wake)

    def _named(self, plugin: str, instance: str) -> bool:
        route = self._routes.get(plugin)
        return route is not None and any(target.instance == instance for target in route.targets)
