"""The way to one plugin: its route, its policies and all the data plane keeps for it, found with one look-up."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, NamedTuple

from controller.dataplane.limits import Bulkhead
from xcore.manifest import Manifest
from xcore.routes import Route, Target
from xcore.spec import Access, ActionSpec

if TYPE_CHECKING:
    from controller.dataplane.exchange import Exchange
    from controller.dataplane.upstream import Pool

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Policy(NamedTuple):
    """One action's settings, as the hot path wants them; times in seconds."""

    public: bool
    scopes: frozenset[str]
    methods: frozenset[bytes]
    first_byte: float
    idle: float
    total: float
    max_body: int
    lines: bytes  # of a head, for the plugin

    def within(self, seconds: float) -> Policy:
        """The same with another deadline, for an answer that nobody waits for."""
        return self._replace(first_byte=seconds, idle=seconds, total=seconds, lines=self._lines(seconds))

    def no_longer(self, seconds: float, told: bytes) -> Policy:
        """The same for a request that has so long at most; the plugin is `told` some lines more."""
        left = max(0.001, seconds)
        first_byte = min(self.first_byte, left)
        lines = self._lines(first_byte) + told
        return self._replace(first_byte=first_byte, total=min(self.total, left), lines=lines)

    def _lines(self, seconds: float) -> bytes:
        return _deadline(seconds) + self.lines.partition(b"\r\n")[2]


class Counters:
    """Requests of one plugin: by status, and how long they took (a histogram over BUCKETS, in seconds)."""

    __slots__ = ("by_status", "in_buckets", "seconds")

    def __init__(self) -> None:
        self.by_status: defaultdict[int, int] = defaultdict(int)
        self.in_buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def count(self, status: int, seconds: float) -> None:
        self.by_status[status] += 1
        self.in_buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Way:
    """One per routed plugin. `cut`: bytes of a target it is not sent; `calls`: the plugins it may call, for its part. `route` is None once the plugin is gone; requests under way still hold on to it."""

    __slots__ = (
        "_manifest",
        "bulkhead",
        "calls",
        "counters",
        "cut",
        "declared",
        "default",
        "held",
        "limit",
        "pools",
        "queue",
        "queue_seconds",
        "route",
        "turn",
    )

    def __init__(self) -> None:
        self.bulkhead, self.counters = Bulkhead(), Counters()
        self.held: set[Exchange] = set()
        self.calls: frozenset[str] = frozenset()
        self.route: Route | None = None
        self.pools: dict[Target, Pool] = {}
        self.turn = 0
        self._manifest: Manifest | None = None

    def follow(self, route: Route) -> None:
        """Take over what the table says now."""
        self.route = route
        if route.manifest is self._manifest:
            return
        self._manifest = route.manifest
        spec = route.manifest.spec
        # An image knows nothing of the prefix it is served below: its paths begin where the prefix ends.
        prefix = f"/app/{route.plugin}" if spec.source.image else ""
        self.cut = len(prefix)
        self.calls = frozenset(spec.calls)
        self.declared = {item.name: _policy(item, prefix) for item in spec.actions}
        self.default = _policy(route.manifest.action(""), prefix)
        self.limit = spec.traffic.max_concurrent_requests
        self.queue, self.queue_seconds = spec.traffic.queue.max_length, spec.traffic.queue.timeout_seconds

    def pick(self, avoid: AbstractSet[Target]) -> tuple[Target, Pool] | None:
        """Give the instance with the fewest requests, in turns where several have as few; of `avoid` only for want of others."""
        pools = self.pools
        if len(pools) < 2:
            return next(iter(pools.items()), None)
        self.turn += 1
        targets = list(pools)
        cut = self.turn % len(targets)
        best = min(targets[cut:] + targets[:cut], key=lambda target: (target in avoid, target.inflight))
        return best, pools[best]

    def policy(self, action: str) -> Policy:
        return self.declared.get(action, self.default)


def _policy(item: ActionSpec, prefix: str) -> Policy:
    times = item.timeouts
    told = b"x-forwarded-prefix: %b\r\n" % prefix.encode("ascii") if prefix else b""
    return Policy(
        public=item.access is Access.PUBLIC,
        scopes=frozenset(item.scopes),
        methods=frozenset(method.encode() for method in item.methods),
        first_byte=times.first_byte_seconds,
        idle=times.idle_seconds,
        total=times.max_duration_seconds,
        max_body=item.max_body_bytes,
        lines=_deadline(times.first_byte_seconds) + told,
    )


def _deadline(seconds: float) -> bytes:
    return b"xcore-deadline-seconds: %g\r\n" % seconds
