"""What to do next for one plugin: a pure function of what is wanted, what is found, its restarts and the time.

The rules, in order:
  1. Ended instances are removed, all but the newest: its logs are what a person looks for.
  2. Nothing wanted, or suspended: stop what lives.
  3. An instance whose probes failed has to go before anything starts in its place.
  4. A revision that could not start while an older one serves is not tried again; the older one is kept alive.
  5. The new revision starts beside the old (Rolling) or after it (Recreate); the old goes when the new is ready.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xcore.restart import Restarts
from xcore.spec import UpdateStrategy
from xcore.workload import ExitReason, Instance, Phase, Workload

# A hung process does not end politely; waiting out its whole grace would only delay its successor.
FAILED_GRACE = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one plugin should be: `target`, or `fallback` (the last that was ready) while `target` is known broken."""

    target: Workload
    fallback: Workload | None = None
    suspended: bool = False
    since: int = 0  # instances of an earlier generation are replaced: somebody asked for a restart
    broken: frozenset[str] = frozenset()

    @property
    def desired(self) -> Workload:
        if self.fallback is not None and self.target.revision in self.broken:
            return self.fallback
        return self.target

    def accepts(self, instance: Instance) -> bool:
        """Tell whether this instance is what should run, as far as its identity goes."""
        desired = self.desired
        since = self.since if desired is self.target else 0
        return instance.revision == desired.revision and instance.generation >= since


@dataclass(frozen=True, slots=True)
class Start:
    workload: Workload


@dataclass(frozen=True, slots=True)
class Stop:
    """End an instance: drained first when `reason` is None (nothing is wrong with it), at once otherwise."""

    instance: Instance
    grace: float
    reason: ExitReason | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Forget an ended instance."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before this time (epoch seconds)."""

    until: float


Step = Start | Stop | Remove | Wait


def plan(wanted: Wanted | None, found: Sequence[Instance], history: Restarts, now: float) -> list[Step]:
    """Give the steps to take now, in order; an empty list means all is as it should be."""
    ended = sorted((i for i in found if i.exit is not None), key=_age)
    alive = sorted((i for i in found if i.exit is None), key=_age)
    if wanted is None or wanted.suspended:
        grace = wanted.target.manifest.spec.termination_grace_period_seconds if wanted else FAILED_GRACE
        return [*map(Remove, ended), *(Stop(i, grace) for i in alive)]
    steps: list[Step] = list(map(Remove, ended[:-1]))
    failing = [i for i in alive if i.oom or i.phase is Phase.Failed]
    steps += [Stop(i, FAILED_GRACE, _why(i)) for i in failing]
    return steps + _advance(wanted, [i for i in alive if i not in failing], failing, history, now)


def _advance(  # noqa: PLR0913  the plan's own state, spelled out
    wanted: Wanted, alive: list[Instance], failing: list[Instance], history: Restarts, now: float
) -> list[Step]:
    desired = wanted.desired
    spec = desired.manifest.spec
    grace = spec.termination_grace_period_seconds
    current = [i for i in alive if wanted.accepts(i)]
    others = [i for i in alive if not wanted.accepts(i)]
    if not current:
        stale = [
            i for i in others if i.phase is Phase.Starting or spec.update.strategy is UpdateStrategy.RECREATE
        ]
        steps: list[Step] = [Stop(i, grace) for i in stale]
        if any(wanted.accepts(i) for i in failing) or (
            stale and spec.update.strategy is UpdateStrategy.RECREATE
        ):
            return steps
        return steps + _start(desired, history, now)
    keep = _best(current)
    surplus = [i for i in current if i is not keep]
    if keep.phase is Phase.Ready:
        surplus += others
    else:
        surplus += [i for i in others if i.phase is Phase.Starting]
    return [Stop(i, grace) for i in surplus]


def _start(desired: Workload, history: Restarts, now: float) -> list[Step]:
    if history.held:
        return []
    if history.next_time is not None and history.next_time > now:
        return [Wait(history.next_time)]
    return [Start(desired)]


def _best(instances: list[Instance]) -> Instance:
    ready = [i for i in instances if i.phase is Phase.Ready]
    return (ready or instances)[-1]


def _age(instance: Instance) -> tuple[float, str]:
    return (instance.started_at, instance.id)


def _why(instance: Instance) -> ExitReason:
    return ExitReason.OutOfMemory if instance.oom else ExitReason.ProbeFailed
