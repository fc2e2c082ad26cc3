"""What all exchanges share: the ways to plugins, pools, counters, and the tick that enforces deadlines."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Set as AbstractSet
from typing import TYPE_CHECKING

from controller.dataplane.chains import Chains
from controller.dataplane.limits import Bulkhead
from controller.dataplane.proxies import Proxies
from controller.dataplane.upstream import IDLE_SECONDS, IMAGE_IDLE_SECONDS, Pool, dialler
from controller.dataplane.way import BUCKETS, Counters, Way
from integrations.gate import Gate
from xcore.routes import RouteTable, Target

if TYPE_CHECKING:
    from controller.dataplane.exchange import Exchange

__all__ = ["BUCKETS", "Counters", "DataPlane"]
TICK = 0.1


class DataPlane:
    """One per controller. `gate` knows the keys that are good, None switches authentication off. `clock` gives seconds that only grow. `origins`: beside our own, those whose
    pages may open WebSockets; in lower case. `granted`: who may call whom.
    """

    def __init__(
        self,
        routes: RouteTable,
        gate: Gate | None,
        clock: Callable[[], float] = time.monotonic,
        *,
        origins: AbstractSet[bytes] = frozenset(),
        granted: AbstractSet[tuple[str, str]] = frozenset(),
    ) -> None:
        self.origins, self.granted, self.chains = origins, granted, Chains()
        self.routes, self.gate, self.clock = routes, gate, clock
        self.active: set[Exchange] = set()
        self.ways: dict[str, Way] = {}
        # Of requests that belong to no plugin: their names are the client's, not ours to keep.
        self.nowhere = Way()
        self.draining = False
        self.defers = False  # whether calls may be taken in now and made later
        self.proxies = Proxies()  # whose word is taken on whom a request is from
        self._pools: dict[Target, Pool] = {}
        self._ids = itertools.count(secrets.randbits(48))
        self._timer: asyncio.TimerHandle | None = None
        for route in routes:
            self._route_changed(route.plugin)
        routes.listen(self._route_changed)
        if gate is not None:
            gate.listen(self._keys_ended)

    @property
    def counters(self) -> dict[str, Counters]:
        """By plugin; under the empty name what belongs to none."""
        return {"": self.nowhere.counters, **{name: way.counters for name, way in self.ways.items()}}

    @property
    def bulkheads(self) -> dict[str, Bulkhead]:
        return {name: way.bulkhead for name, way in self.ways.items()}

    @property
    def pools(self) -> list[Pool]:
        return list(self._pools.values())

    def start(self) -> None:
        self._tick()

    def close(self) -> None:
        """Cut what is still under way."""
        if self._timer is not None:
            self._timer.cancel()
        for exchange in list(self.active):
            exchange.fail("Draining", "the controller is shutting down", retry_after=1)
        for pool in self._pools.values():
            pool.retire()

    def new_request_id(self) -> bytes:
        return b"%016x" % next(self._ids)

    def _keys_ended(self, ids: AbstractSet[str]) -> None:
        """Cut what was let in by keys that are no longer good."""
        for exchange in list(self.active):
            grant = exchange.request.grant
            if grant is not None and grant.id in ids:
                exchange.fail("Unauthenticated", "the key was revoked, or has expired")

    # -- routes -------------------------------------------------------------------------------------------------

    def _route_changed(self, plugin: str) -> None:
        route = self.routes.get(plugin)
        if route is None:
            way = self.ways.pop(plugin, None)
        else:
            way = self.ways.setdefault(plugin, Way())
            way.follow(route)
            way.pools = {target: self._pool(target, image=way.cut > 0) for target in route.targets}
            way.bulkhead.fill(way.limit)
        if way is None:
            return
        if route is None:
            way.route, way.pools = None, {}
        self._retire_pools()
        for exchange in list(way.held):
            exchange.dispatch()

    def _pool(self, target: Target, *, image: bool) -> Pool:
        pool = self._pools.get(target)
        if pool is None:
            idle = IMAGE_IDLE_SECONDS if image else IDLE_SECONDS
            pool = self._pools[target] = Pool(dialler(target.endpoint), self.clock, idle_seconds=idle)
        return pool

    def _retire_pools(self) -> None:
        current = {target for way in self.ways.values() for target in way.pools}
        for target in [target for target in self._pools if target not in current]:
            self._pools.pop(target).retire()

    def suspect(self, plugin: str) -> None:
        """An upstream did not behave: whoever supervises it should look."""
        self.routes.on_suspect(plugin)

    # -- time ---------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self.clock()
        try:
            for exchange in list(self.active):
                exchange.tick(now)
            for pool in self._pools.values():
                pool.reap(now)
        finally:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
