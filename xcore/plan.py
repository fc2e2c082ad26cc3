"""What to do next for one plugin: a pure function of what is wanted, what is found, its restarts and the time.

The rules, in order:
  1. Ended instances are removed, all but the newest: its logs are what a person looks for.
  2. Nothing wanted, or suspended: stop what lives.
  3. An instance whose probes failed has to go before anything starts in its place.
  4. A revision that could not start while an older one serves is not tried again; the older one is kept alive.
  5. The new revision starts beside the old (Rolling) or after it (Recreate); the old goes when the new is ready.
     Until then one of the old is kept, the one that serves.
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
    """What one plugin should be: `target`, or `fallback` (the last that was ready) while `target` is broken."""

    target: Workload
    fallback: Workload | None = None
    suspended: bool = False
    since: int = 0  # instances of an earlier generation are replaced: somebody asked for a restart
    broken: str = ""  # why `target` is not tried again

    @property
    def replaces(self) -> Workload | None:
        """The older revision, known to be good, that the target is to replace."""
        older = self.fallback
        return older if older is not None and older.revision != self.target.revision else None

    @property
    def desired(self) -> Workload:
        return (self.replaces or self.target) if self.broken else self.target

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
    """End an instance: drained first when `reason` is None (nothing is wrong with it), at once otherwise.

    Said again for an instance that is being ended already, it changes nothing.
    """

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
    staying = [i for i in alive if i.phase is not Phase.Ending]
    if wanted is None or wanted.suspended:
        grace = wanted.target.manifest.spec.termination_grace_period_seconds if wanted else FAILED_GRACE
        return [*map(Remove, ended), *(Stop(i, grace) for i in staying)]
    steps: list[Step] = list(map(Remove, ended[:-1]))
    steps += [Stop(i, FAILED_GRACE, _why(i)) for i in staying if _failing(i)]
    healthy = [i for i in staying if not _failing(i)]
    current = [i for i in healthy if wanted.accepts(i)]
    others = [i for i in healthy if not wanted.accepts(i)]
    grace = wanted.desired.manifest.spec.termination_grace_period_seconds
    ready = [i for i in current if i.phase is Phase.Ready]
    if ready:
        return [*steps, *(Stop(i, grace) for i in healthy if i is not ready[-1])]
    if current:
        return [*steps, *(Stop(i, grace) for i in _dispensable(wanted, others))]
    recreate = wanted.desired.manifest.spec.update.strategy is UpdateStrategy.RECREATE
    steps += [Stop(i, grace) for i in (others if recreate else _dispensable(wanted, others))]
    in_the_way = alive if recreate else [i for i in staying if _failing(i) and wanted.accepts(i)]
    return steps if in_the_way else steps + _start(wanted.desired, history, now)


def _start(desired: Workload, history: Restarts, now: float) -> list[Step]:
    if history.held:
        return []
    if history.next_time is not None and history.next_time > now:
        return [Wait(history.next_time)]
    return [Start(desired)]


def _dispensable(wanted: Wanted, others: list[Instance]) -> list[Instance]:
    """Tell which of the others can go before their successor is ready: all but the one that serves.

    Where none does, the newest that may again is kept, and those of the good revision that were not asked yet: an
    instance just adopted may well be serving.
    """
    good = wanted.replaces
    ready = [i for i in others if i.phase is Phase.Ready]
    unready = [i for i in others if i.phase is Phase.Unready]
    kept = sorted(ready or unready, key=lambda i: (i.generation, i.started_at))[-1:]
    if good is not None and not ready:
        kept += [i for i in others if i.phase is Phase.Starting and i.revision == good.revision]
    return [i for i in others if i not in kept]


def _failing(instance: Instance) -> bool:
    return instance.oom or instance.phase is Phase.Failed


def _age(instance: Instance) -> tuple[float, str]:
    return (instance.started_at, instance.id)


def _why(instance: Instance) -> ExitReason:
    return ExitReason.OutOfMemory if instance.oom else ExitReason.ProbeFailed
