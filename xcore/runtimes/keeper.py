"""One keeper per plugin: look at what is wanted and what is found, take the next step, wait to be woken.

Level-triggered: events only wake it. *Wanted* is read after *found*, so a decision is never made on a wish older
than the facts. A failing engine is waited out and spends nothing of the plugin's budget.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from xcore.clock import sleep
from xcore.errors import RuntimeUnavailable, WorkloadRejected, XcoreError
from xcore.plan import Remove, Start, Step, Stop, Wait, Wanted, plan
from xcore.probes import probes_of
from xcore.restart import FREE, Restarts, forgiven, record, resumed
from xcore.runtimes.hands import ENGINE_DELAYS, Hands, Ports, delay
from xcore.runtimes.life import Life
from xcore.runtimes.roster import Roster
from xcore.runtimes.seams import Observed, serving
from xcore.workload import Exit, ExitReason, Instance, Phase, Workload

RESYNC = 15.0
GAP = 0.05  # pokes that come in a burst make one look
SECOND_LOOK = 1.0  # after a start or a stop, in case the engine's event is lost
_log = logging.getLogger("xcore.keeper")


class Keeper:
    """Keeps one plugin as wanted. `run` is its task; everything else is called from the same event loop."""

    def __init__(self, name: str, ports: Ports, wanted: Wanted, history: Restarts) -> None:
        self.name = name
        self.history = resumed(history, ports.clock.time())
        self.gone = asyncio.Event()
        self._wanted = wanted
        self._wanted_at = ports.clock.time()
        self._farewell: asyncio.Event | None = None  # set when it is gone, or wanted again
        self._ports = ports
        self._wake = asyncio.Event()
        self._roster = Roster()
        self._outage: RuntimeUnavailable | None = None
        self._failures = 0
        self._hands = Hands(name, ports, self.poke)

    # -- what is wanted -----------------------------------------------------------------------------------------

    def want(
        self, target: Workload, fallback: Workload | None, *, suspended: bool, history: Restarts
    ) -> None:
        """Change what is wanted; a new revision starts with a clean slate."""
        before = self._wanted
        if self._farewell is not None:
            self._farewell.set()
            self._farewell = None
            self.history = resumed(history, self._ports.clock.time())
            self._wanted = Wanted(target, _fresh(fallback, target), suspended)
            return self._begin()
        fallback = before.fallback or fallback  # known better here than to whoever wants
        same = target.revision == before.target.revision
        self._wanted = Wanted(
            target=target,
            fallback=_fresh(fallback, target),
            suspended=suspended,
            since=before.since,
            broken=before.broken if same else "",
        )
        if not same or before.suspended != suspended:
            self._begin()
        return None

    def restart(self, target: Workload) -> None:
        """Replace every instance of an earlier generation, and try again what was given up."""
        fallback = _fresh(self._wanted.fallback, target)
        self._wanted = replace(
            self._wanted, target=target, fallback=fallback, since=target.generation, broken=""
        )
        self._begin()

    def _begin(self) -> None:
        self.history = forgiven(self.history)
        self._wanted_at = self._ports.clock.time()
        self._hands.forgive()

    async def leave(self) -> None:
        """Want nothing any more; returns when nothing is left, or when it is wanted again before."""
        if self._farewell is None:
            self._farewell = asyncio.Event()
        farewell = self._farewell
        self.poke()
        await farewell.wait()

    def poke(self) -> None:
        self._wake.set()

    @property
    def grace(self) -> float:
        return self._wanted.desired.manifest.spec.termination_grace_period_seconds

    # -- looking ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        try:
            while not self.gone.is_set():
                self._wake.clear()
                due = await self._look()
                self._ports.changed(self.name)
                if self._outage is not None:
                    await sleep(self._ports.clock, due)  # whoever pokes cannot make the engine answer
                elif not self.gone.is_set():
                    await self._ports.clock.wait(self._wake, due)
                    await sleep(self._ports.clock, GAP)
        finally:
            await asyncio.gather(*(life.let_go() for life in self._roster))

    async def _look(self) -> float:
        """Take one look and the steps that follow from it; returns how long nothing is due, seconds."""
        try:
            found = await self._ports.engine.list(self.name)
            self._back()
            return await self._act(found)
        except RuntimeUnavailable as error:
            return self._away(error)
        except XcoreError as error:
            _log.warning("%s: %s", self.name, error.detail)
            return RESYNC
        except Exception:  # noqa: BLE001  a bug of ours must not end supervision: say so loudly, look again
            _log.exception("the keeper of %s failed", self.name)
            return RESYNC

    def _back(self) -> None:
        if self._outage is not None:
            self._outage, self._failures = None, 0
            self._wanted_at = self._ports.clock.time()  # nothing could progress meanwhile

    def _away(self, error: RuntimeUnavailable) -> float:
        if self._outage is None:
            self._failures = 0
            _log.warning("%s: %s", self.name, error.detail)
        self._outage = error
        self._failures += 1
        return delay(ENGINE_DELAYS, self._failures)

    async def _act(self, found: Sequence[Instance]) -> float:
        for life, instance in self._roster.take(found, self.history.last):
            await self._judge(life, instance)
        for life in self._roster:
            self._probe(life)
        now = self._ports.clock.time()
        due = min(RESYNC, self._deadline(now))
        steps = self._steps(found, now)
        self._call_off(steps)
        if not any(isinstance(step, Start) for step in steps):
            self._hands.forgive()
        for step in steps:
            due = min(due, await self._take(step))
        if self._farewell is not None and not found:
            self.gone.set()
            self._farewell.set()
        return due

    def _steps(self, found: Sequence[Instance], now: float) -> list[Step]:
        wanted = replace(self._wanted, suspended=True) if self._farewell is not None else self._wanted
        steps = plan(wanted, self._roster.seen(found), self.history, now)
        return [*map(Remove, self._roster.discarded(found)), *steps]

    def _call_off(self, steps: Sequence[Step]) -> None:
        """Forget the wish to end what is wanted again: should it end now, nobody asked for it."""
        stopped = {step.instance.id for step in steps if isinstance(step, Stop)}
        for life in self._roster:
            if life.ending is None and life.instance.id not in stopped:
                life.stop = None

    def _deadline(self, now: float) -> float:
        """Give up a new revision that is not ready in time while an older one is known; else tell when."""
        wanted = self._wanted
        if wanted.replaces is None or wanted.broken or wanted.suspended:
            return RESYNC
        left = self._wanted_at + wanted.target.manifest.spec.update.progress_deadline_seconds - now
        if left <= 0:
            self._give_up("it was not ready by its progress deadline")
            return RESYNC
        return left

    def _give_up(self, why: str) -> None:
        _log.warning("%s: the new revision is given up: %s", self.name, why)
        self._wanted = replace(self._wanted, broken=why)

    # -- steps --------------------------------------------------------------------------------------------------

    async def _take(self, step: Step) -> float:
        """Take a step; returns in how many seconds to look again."""
        match step:
            case Wait(until):
                return max(0.0, until - self._ports.clock.time())
            case Start(workload):
                return await self._start(workload)
            case Stop(instance):
                again = self._hands.stop(self._roster[instance.id], step)
                return RESYNC if again is None else again
            case Remove(instance):
                await self._remove(instance)
        return RESYNC if self._farewell is None else 0.0

    async def _remove(self, instance: Instance) -> None:
        try:
            await self._ports.engine.remove(instance)
        except WorkloadRejected as error:
            _log.warning("%s: an ended instance cannot be removed: %s", self.name, error.detail)

    async def _start(self, workload: Workload) -> float:
        wanted = self._wanted
        started = await self._hands.start(workload, lambda: self._wanted is wanted and self._farewell is None)
        if isinstance(started, Instance):
            self._probe(self._roster.adopt(started))
            return SECOND_LOOK
        return started

    # -- what is found ------------------------------------------------------------------------------------------

    async def _judge(self, life: Life, instance: Instance) -> None:
        """An instance ended without being asked to, or because its probes failed: what it costs."""
        now = self._ports.clock.time()
        ready_since = self._ready_since(life)
        ended = instance.exit or Exit(ExitReason.Removed, None, now)
        ended = replace(ended, at=now, served=ready_since is not None)
        if life.stop is not None and life.stop.reason is not None:
            ended = replace(ended, reason=life.stop.reason, message=life.stop.instance.message)
        elif ended.reason is ExitReason.Error:
            ended = replace(ended, message=await self._hands.last_words(instance))
        self._ports.exited(instance, ended)
        wanted = self._wanted
        if self._farewell is not None or wanted.suspended or not wanted.accepts(instance):
            self.history = replace(self.history, last=ended)
        elif wanted.replaces and not (wanted.broken or ended.served or ended.reason in FREE):
            self.history = replace(self.history, last=ended)
            self._give_up(ended.message or f"it ended ({ended.reason}) before it was ready")
        else:
            policy = wanted.desired.manifest.spec.restart
            healthy = now - ready_since if ready_since is not None else 0.0
            self.history = record(self.history, ended, policy, healthy=healthy, dice=self._ports.dice())

    def _ready_since(self, life: Life) -> float | None:
        """Tell since when it was ready; of one that ended before we could ask, what an earlier controller saw."""
        good = self._wanted.fallback
        if life.ready_since is None and good is not None and good.revision == life.instance.revision:
            return life.since
        return life.ready_since

    def _probe(self, life: Life) -> None:
        older = self._wanted.replaces
        mine = older is not None and older.revision == life.instance.revision
        source = older if older is not None and mine else self._wanted.target
        life.probe(probes_of(source.manifest.spec), self._ports.clock, self._told)

    def _told(self, life: Life, phase: Phase, message: str) -> None:
        life.phase, life.message = phase, message
        if phase is Phase.Ready:
            life.take_ready(self._ports.clock.time())
            wanted = self._wanted
            if life.instance.revision == wanted.target.revision and not life.planned:
                self._wanted = replace(wanted, fallback=wanted.target, broken="")
        self._ports.changed(self.name)
        self.poke()

    def observed(self) -> Observed:
        wanted = self._wanted
        leaving = self._farewell is not None
        living = [life.seen() for life in self._roster if life.ending is None]
        now = serving(living)
        quiet = leaving or wanted.suspended
        return Observed(
            plugin=self.name,
            runtime=self._ports.engine.name(wanted.target),
            wanted=None if leaving else wanted.target,
            suspended=quiet,
            instances=tuple(living),
            leaving=tuple(life.instance for life in self._roster if life.ending is not None),
            restarts=self.history,
            broken=wanted.broken,
            failure=self._outage or self._hands.rejection,
            fallback=None if leaving else wanted.fallback,
            settled=not (quiet or wanted.broken) and now is not None and wanted.accepts(now),
            wanted_at=self._wanted_at,
        )


def _fresh(fallback: Workload | None, target: Workload) -> Workload | None:
    """Changes that take effect in place also hold for what is remembered as good."""
    return target if fallback is not None and fallback.revision == target.revision else fallback
