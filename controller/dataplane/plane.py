"""What all exchanges share: routes, policies, bulkheads, pools, counters, and the tick that enforces deadlines."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from controller.dataplane.inprocess import InProcess
from controller.dataplane.limits import Bulkhead
from controller.dataplane.upstream import Pool
from xcore.endpoint import AsgiEndpoint
from xcore.manifest import Manifest
from xcore.routes import Route, RouteTable, Target
from xcore.spec import Access, ActionSpec

if TYPE_CHECKING:
    from controller.dataplane.exchange import Exchange

TICK = 0.1
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_log = logging.getLogger("xcore.dataplane")


class Policy(NamedTuple):
    """One action's settings, as the hot path wants them; times in seconds."""

    public: bool
    methods: frozenset[bytes]
    first_byte: float
    idle: float
    total: float
    max_body: int
    deadline_field: bytes


class Counters:
    """Requests of one plugin: by status, and how long they took (a histogram over BUCKETS, in seconds)."""

    __slots__ = ("by_status", "in_buckets", "seconds")

    def __init__(self) -> None:
        self.by_status: defaultdict[int, int] = defaultdict(int)
        self.in_buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class DataPlane:
    """One per controller. `authorized(key)` tells whether a bearer key is good, fast and in constant time.

    None switches authentication off.
    """

    def __init__(self, routes: RouteTable, authorized: Callable[[bytes], bool] | None) -> None:
        self.routes = routes
        self.authorized = authorized
        self.active: set[Exchange] = set()
        self.counters: defaultdict[str, Counters] = defaultdict(Counters)
        self.bulkheads: defaultdict[str, Bulkhead] = defaultdict(Bulkhead)
        self.draining = False
        self._held: defaultdict[str, set[Exchange]] = defaultdict(set)
        self._pools: dict[str, Pool | InProcess] = {}
        self._policies: dict[str, tuple[Manifest, dict[str, Policy], Policy]] = {}
        self._ids = itertools.count(random.getrandbits(64))  # noqa: S311  unique, not secret
        self._timer: asyncio.TimerHandle | None = None
        routes.listen(self._route_changed)

    def start(self) -> None:
        self._tick()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for pool in self._pools.values():
            pool.close()

    def new_request_id(self) -> bytes:
        return b"%016x" % (next(self._ids) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)

    def policy(self, route: Route, action: str) -> Policy:
        known = self._policies.get(route.plugin)
        if known is None or known[0] is not route.manifest:
            manifest = route.manifest
            declared = {item.name: _policy(item) for item in manifest.spec.actions}
            known = self._policies[route.plugin] = (manifest, declared, _policy(manifest.action("default")))
        return known[1].get(action, known[2])

    def pool(self, target: Target) -> Pool | InProcess:
        pool = self._pools.get(target.instance)
        if pool is None:
            endpoint = target.endpoint
            pool = InProcess(endpoint.app) if isinstance(endpoint, AsgiEndpoint) else Pool(endpoint)
            self._pools[target.instance] = pool
        return pool

    # -- waiting for a route ------------------------------------------------------------------------------------

    def hold(self, exchange: Exchange) -> None:
        self._held[exchange.plugin].add(exchange)

    def unhold(self, exchange: Exchange) -> None:
        self._held[exchange.plugin].discard(exchange)

    def _route_changed(self, plugin: str) -> None:
        for exchange in list(self._held.pop(plugin, ())):
            exchange.dispatch()
        named = {route.target.instance for route in self.routes if route.target}
        for instance in [i for i, pool in self._pools.items() if i not in named and not pool.busy]:
            self._pools.pop(instance).close()
        if self.routes.get(plugin) is None:
            self._policies.pop(plugin, None)
            if plugin in self.bulkheads and not self.bulkheads[plugin].active:
                del self.bulkheads[plugin]

    # -- time ---------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            for exchange in list(self.active):
                exchange.tick(now)
            for pool in self._pools.values():
                pool.reap(now)
        finally:
            self._timer = loop.call_later(TICK, self._tick)

    def suspect(self, plugin: str) -> None:
        """An upstream did not behave: whoever supervises it should look."""
        self.routes.on_suspect(plugin)


def _policy(item: ActionSpec) -> Policy:
    times = item.timeouts
    return Policy(
        public=item.access is Access.PUBLIC,
        methods=frozenset(method.encode() for method in item.methods),
        first_byte=times.first_byte_seconds,
        idle=times.idle_seconds,
        total=times.max_duration_seconds,
        max_body=item.max_body_bytes,
        deadline_field=b"xcore-deadline-seconds: %g\r\n" % times.first_byte_seconds,
    )
