"""The two seams of isolation. A `Runtime` keeps workloads running; an `Engine` only starts and stops single instances.

Both raise RuntimeUnavailable when the engine or cluster does not answer: unknown is never gone. Every method is
idempotent and may be cancelled between any two awaits without losing an object: what exists is read back from
the engine, so a new controller adopts what the last one left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from xcore.errors import Problem, WorkloadRejected, XcoreError
from xcore.manifest import Manifest
from xcore.packing.target import Target
from xcore.restart import Restarts
from xcore.workload import Exit, Instance, LogLine, Phase, Workload


class Engine(Protocol):
    """Single instances on one substrate.

    `start` returns once the instance runs (not: is ready); raises WorkloadRejected, ImagePull when asking again
    may not help. `stop` returns when nothing of it runs any more; the ended instance stays listed, for its logs,
    until `remove`. `list` without a name gives all instances of this owner. `watch` yields names of plugins worth
    another look, a hint and never the truth; it ends only by cancellation. `pin` gives the id of the image under a
    name, fetched first where it is not there: an id never means another image. It raises ImagePull, NotSupported, and
    is asked only for what `check` lets pass.
    """

    def name(self, workload: Workload | None) -> str:
        """Name what such a workload runs on: docker, process, inprocess."""

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]: ...
    def image(self, workload: Workload | None) -> str: ...

    @property
    def target(self) -> Target:
        """What packed dependencies must fit; known after `open`."""

    async def open(self) -> None: ...
    def check(self, manifest: Manifest) -> Sequence[Problem]: ...
    async def pin(self, image: str, say: Callable[[str], None]) -> str: ...
    async def start(self, workload: Workload) -> Instance: ...
    async def stop(self, instance: Instance, *, grace: float) -> None: ...
    async def remove(self, instance: Instance) -> None: ...
    async def list(self, plugin: str | None = None) -> Sequence[Instance]: ...
    def watch(self) -> AsyncIterator[str]: ...
    def logs(self, instance: Instance, *, lines: int, follow: bool) -> AsyncIterator[LogLine]: ...
    async def aclose(self) -> None: ...


def serving(instances: Sequence[Instance]) -> Instance | None:
    """Of those that are ready, the one that requests go to: the newest."""
    ready = [i for i in instances if i.exit is None and i.phase is Phase.Ready]
    return max(ready, key=lambda i: (i.generation, i.started_at), default=None)


@dataclass(frozen=True, slots=True)
class Observed:
    """What is so for one plugin: a snapshot, cheap to take.

    `serving` is the newest ready instance. `failure` is the engine's last refusal or silence.
    """

    plugin: str
    runtime: str
    wanted: Workload | None
    suspended: bool
    instances: tuple[Instance, ...]
    restarts: Restarts
    broken: str = ""  # why the target revision is not served, when an older one is
    failure: XcoreError | None = None
    fallback: Workload | None = None
    settled: bool = False  # what serves is what is wanted
    leaving: tuple[Instance, ...] = ()  # told to stop; they finish what they have
    wanted_at: float = 0.0  # since when the target is wanted, epoch seconds
    withheld: str = ""  # why requests are kept from what is ready: a reason of NetworkIsolated
    spread: bool = False  # requests go to all that are ready, not to the newest alone
    selector: str = ""  # of its pods, by label: for whoever scales it; empty where there are none

    @property
    def serving(self) -> Instance | None:
        return serving(self.instances)

    @property
    def receiving(self) -> tuple[Instance, ...]:
        """Where requests go."""
        if self.withheld:
            return ()
        if self.spread:
            return tuple(i for i in self.instances if i.exit is None and i.phase is Phase.Ready)
        return (self.serving,) if self.serving else ()

    @property
    def given_up(self) -> bool:
        """Tell that the target will not be tried again unless somebody asks."""
        return bool(self.broken or self.restarts.held)

    def expected_within(self, now: float) -> float | None:
        """Tell in how many seconds an instance may be ready; None when none is to be expected."""
        if self.suspended or self.restarts.held or isinstance(self.failure, WorkloadRejected):
            return None
        if not self.instances and self.restarts.next_time is not None:
            return max(0.0, self.restarts.next_time - now)
        return 0.0


# (plugin, instance, seconds): returns when nothing is sent to the instance any more, at the latest after `seconds`.
Drain = Callable[[str, str, float], Awaitable[None]]
Exited = Callable[[Instance, Exit], None]


class Runtime(Protocol):
    """Where plugins run, one workload per plugin."""

    def attach(self, *, drain: Drain, exited: Exited) -> None:
        """Say who drains an instance before it is stopped, and who hears of ends nobody asked for. Once, before `open`."""

    def check(self, manifest: Manifest) -> Sequence[Problem]:
        """Tell what this runtime cannot do: refused, never ignored."""

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:
        """Give the NetworkIsolated condition of such a workload here: status, reason, message."""

    def image(self, workload: Workload | None) -> str:
        """Name the image it runs from, empty where there is none."""

    async def open(self) -> None: ...

    def apply(
        self, workload: Workload, *, fallback: Workload | None, suspended: bool, history: Restarts
    ) -> None:
        """Want this from now on; returns at once."""

    def restart(self, plugin: str, workload: Workload) -> None:
        """Replace every instance of an earlier generation by a new one, and forget what was spent of the budget."""

    async def remove(self, plugin: str) -> None:
        """Want nothing of this name; returns when nothing of it is left, or when it is wanted again before."""

    def observed(self, plugin: str) -> Observed | None: ...

    def watch(self) -> AsyncIterator[str]:
        """Yield names worth another look."""

    def poke(self, plugin: str) -> None:
        """Look now: somebody has seen the plugin fail."""

    async def sweep(self) -> Sequence[str]:
        """Remove what nobody wants; only after a full sync. Returns what went. Raises RuntimeUnavailable."""

    def logs(self, plugin: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]: ...

    async def stop_all(self) -> None:
        """End every instance (the operator asked to leave nothing behind)."""

    async def aclose(self) -> None:
        """Let go; instances stay."""
