"""One keeper per plugin: look at what is wanted and what is found, take the next step, wait to be woken.

Level-triggered: events only wake it. *Wanted* is read after *found*, so a decision is never made on a wish older
than the facts. A failing engine is waited out and spends nothing of the plugin's budget.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from xcore.clock import Clock
from xcore.errors import RuntimeUnavailable, WorkloadRejected, XcoreError
from xcore.plan import Remove, Start, Step, Stop, Wait, Wanted, plan
from xcore.probes import Prober
from xcore.restart import Restarts, record
from xcore.runtimes.seams import Engine, Observed
from xcore.workload import Exit, ExitReason, Instance, Phase

RESYNC = 15.0
ENGINE_DELAYS = (0.25, 0.5, 1.0, 2.0, 4.0)
REJECTED_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
_log = logging.getLogger("xcore.keeper")


@dataclass(frozen=True, slots=True)
class Ports:
    """What a keeper needs of the world around it."""

    engine: Engine
    clock: Clock
    dice: Callable[[], float]
    starts: asyncio.Semaphore  # how many instances may be starting at once, over all plugins
    drain: Callable[[str, str, float], Awaitable[None]]
    changed: Callable[[str], None]
    exited: Callable[[Instance, Exit], None]


@dataclass(slots=True)
class _Life:
    """What is known of one living instance beyond what the engine tells."""

    instance: Instance
    phase: Phase = Phase.Starting
    message: str = ""
    ready_since: float | None = None
    prober: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None
    reason: ExitReason | None = None  # why we ended it; None with `ending` set: planned
    planned: bool = False


class Keeper:
    """Keeps one plugin as wanted. `run` is its task; everything else is called from the same event loop."""

    def __init__(self, name: str, ports: Ports, wanted: Wanted, history: Restarts) -> None:
        self.name, self.history = name, history
        self._wanted: Wanted | None = wanted
        self.gone = asyncio.Event()
        self.failure: XcoreError | None = None
        self.broken_message = ""
        self._ports = ports
        self._wake = asyncio.Event()
        self._lives: dict[str, _Life] = {}
        self._ended: dict[str, Instance] = {}
        self._known_ended: set[str] | None = None
        self._failures = 0

    def want(self, wanted: Wanted | None) -> None:
        """Change what is wanted; a new revision starts with a clean slate."""
        before, self._wanted = self._wanted, wanted
        if wanted and before and wanted.target.revision != before.target.revision:
            self.history = replace(self.history, held="", next_time=None, consecutive=0, recent=())
            self.broken_message = ""
        if wanted and before and wanted.target.manifest.spec.probes != before.target.manifest.spec.probes:
            self._probe_anew()
        self._failures = 0
        self.poke()

    def _probe_anew(self) -> None:
        """Probes take effect in place; an instance keeps its phase until the new ones say otherwise."""
        for life in self._lives.values():
            _cancel(life.prober)
            life.prober = None

    def forgive(self) -> None:
        """Forget what was spent: somebody asked for a new start."""
        self.history = replace(self.history, held="", next_time=None, consecutive=0, recent=())
        self.broken_message = ""

    def poke(self) -> None:
        self._wake.set()

    @property
    def current(self) -> Wanted | None:
        return self._wanted

    async def run(self) -> None:
        try:
            while not self.gone.is_set():
                self._wake.clear()
                delay = await self._look()
                self._ports.changed(self.name)
                await self._ports.clock.wait(self._wake, delay)
        finally:
            for life in self._lives.values():
                _cancel(life.prober)
                _cancel(life.ending)

    async def _look(self) -> float:
        """Take one look and the steps that follow from it; returns how long nothing is due, seconds."""
        try:
            found = await self._ports.engine.list(self.name)
            due = await self._act(found)
        except RuntimeUnavailable as error:
            return self._failed(error, ENGINE_DELAYS)
        except WorkloadRejected as error:
            return self._failed(error, REJECTED_DELAYS)
        except Exception:
            # A bug of ours must not end supervision: say so loudly, and look again.
            _log.exception("the keeper of %s failed", self.name)
            return RESYNC
        self.failure, self._failures = None, 0
        return due

    def _failed(self, error: XcoreError, delays: tuple[float, ...]) -> float:
        if type(self.failure) is not type(error):
            _log.warning("%s: %s", self.name, error.detail)
        self.failure = error
        delay = delays[min(self._failures, len(delays) - 1)]
        self._failures += 1
        return delay

    async def _act(self, found: Sequence[Instance]) -> float:
        await self._account(found)
        wanted = self._wanted
        seen = [self._overlay(instance) for instance in found]
        now = self._ports.clock.time()
        due = RESYNC
        for step in plan(wanted, [i for i in seen if not self._leaving(i)], self.history, now):
            due = min(due, await self._take(step, now))
        if wanted is None and not found:
            self.gone.set()
        return due

    async def _take(self, step: Step, now: float) -> float:
        match step:
            case Wait(until):
                return max(0.0, until - now)
            case Start(workload):
                async with self._ports.starts:
                    instance = await self._ports.engine.start(workload)
                self._adopt(instance)
                return 0.0
            case Stop(instance, grace, reason):
                life = self._lives.get(instance.id) or self._adopt(instance)
                life.reason, life.planned = reason, reason is None
                life.ending = asyncio.create_task(self._end(life, grace))
            case Remove(instance):
                await self._ports.engine.remove(instance)
                self._ended.pop(instance.id, None)
        return RESYNC

    async def _end(self, life: _Life, grace: float) -> None:
        instance = life.instance
        try:
            if life.planned:
                await self._ports.drain(self.name, instance.id, grace)
            _cancel(life.prober)
            await self._ports.engine.stop(instance, grace=grace)
            if life.planned:
                await self._ports.engine.remove(instance)
        except XcoreError as error:
            _log.warning("%s: an instance could not be stopped, trying again: %s", self.name, error.detail)
        finally:
            life.ending = None
            self.poke()

    # -- what is found ------------------------------------------------------------------------------------------

    async def _account(self, found: Sequence[Instance]) -> None:
        """Take note of what lives, what ended and what is gone since the last look."""
        ended = {i.id: i for i in found if i.exit is not None}
        if self._known_ended is None:
            # Ends from before our time were judged by our predecessor.
            self._known_ended = set(ended)
        for instance in found:
            if instance.exit is None:
                self._adopt(instance)
        for life in list(self._lives.values()):
            instance = ended.get(life.instance.id, life.instance)
            if instance.id in ended or all(i.id != instance.id for i in found):
                await self._over(life, instance)
        for instance in ended.values():
            if instance.id not in self._known_ended:
                # Started and ended between two looks.
                self._known_ended.add(instance.id)
                await self._judge(_Life(instance), instance)
        self._known_ended &= set(ended)

    async def _over(self, life: _Life, instance: Instance) -> None:
        del self._lives[instance.id]
        _cancel(life.prober)
        if self._known_ended is not None and instance.exit is not None:
            self._known_ended.add(instance.id)
        if life.planned:
            if instance.exit is not None and life.ending is None:
                await self._ports.engine.remove(instance)
            return
        await self._judge(life, instance)

    async def _judge(self, life: _Life, instance: Instance) -> None:
        """An instance ended without being asked to, or because its probes failed: what it costs."""
        now = self._ports.clock.time()
        ended = instance.exit or Exit(ExitReason.Removed, None, now)
        ready_since = life.ready_since
        ended = replace(ended, reason=life.reason or ended.reason, at=now, served=ready_since is not None)
        if life.reason is not None:
            ended = replace(ended, message=life.message)
        elif ended.reason is ExitReason.Error:
            ended = replace(ended, message=await self._last_words(instance))
        self._ports.exited(instance, ended)
        wanted = self._wanted
        if wanted is None:
            return
        if self._replaces_nothing(wanted, instance, ended):
            self.broken_message = (
                ended.message or f"the new revision ended ({ended.reason}) before it was ready"
            )
            self._wanted = replace(wanted, broken=wanted.broken | {instance.revision})
            return
        policy = wanted.target.manifest.spec.restart
        healthy = now - ready_since if ready_since is not None else 0.0
        self.history = record(self.history, ended, policy, healthy=healthy, dice=self._ports.dice())

    @staticmethod
    def _replaces_nothing(wanted: Wanted, instance: Instance, ended: Exit) -> bool:
        """Tell whether a new revision failed to come up while an older, good one is known."""
        fallback = wanted.fallback
        return (
            not ended.served
            and ended.reason not in {ExitReason.Evicted, ExitReason.Removed}
            and instance.revision == wanted.target.revision
            and fallback is not None
            and fallback.revision != instance.revision
        )

    async def _last_words(self, instance: Instance) -> str:
        last = ""
        with contextlib.suppress(XcoreError):
            async for line in self._ports.engine.logs(instance, lines=20, follow=False):
                last = line.text.strip() or last
        return last[:300]

    def _adopt(self, instance: Instance) -> _Life:
        life = self._lives.get(instance.id)
        if life is None:
            life = self._lives[instance.id] = _Life(instance)
        life.instance = instance
        if life.prober is None and instance.endpoint is not None and self._wanted is not None:
            probes = self._wanted.target.manifest.spec.probes
            told = functools.partial(self._told, life)
            life.prober = asyncio.create_task(
                Prober(instance.endpoint, probes, self._ports.clock, told).run()
            )
        return life

    def _told(self, life: _Life, phase: Phase, message: str) -> None:
        life.phase, life.message = phase, message
        if phase is Phase.Ready and life.ready_since is None:
            life.ready_since = self._ports.clock.time()
            wanted = self._wanted
            if wanted is not None and life.instance.revision == wanted.target.revision:
                self.broken_message = ""
                self._wanted = replace(wanted, fallback=wanted.target, broken=frozenset())
        self._ports.changed(self.name)
        self.poke()

    def _overlay(self, instance: Instance) -> Instance:
        life = self._lives.get(instance.id)
        if life is None or instance.exit is not None:
            return instance
        wanted = self._wanted
        late = (
            wanted is not None
            and wanted.fallback is not None
            and life.ready_since is None
            and self._ports.clock.time() - instance.started_at
            > wanted.target.manifest.spec.update.progress_deadline_seconds
        )
        if late:
            return replace(instance, phase=Phase.Failed, message="it was not ready by its progress deadline")
        return replace(instance, phase=life.phase, message=life.message)

    def _leaving(self, instance: Instance) -> bool:
        life = self._lives.get(instance.id)
        return life is not None and life.ending is not None

    def observed(self) -> Observed:
        wanted = self._wanted
        living = [self._overlay(life.instance) for life in self._lives.values() if life.ending is None]
        ready = [i for i in living if i.phase is Phase.Ready]
        return Observed(
            plugin=self.name,
            runtime=self._ports.engine.name,
            wanted=wanted.target if wanted else None,
            suspended=wanted.suspended if wanted else True,
            instances=tuple(living),
            restarts=self.history,
            broken=self.broken_message,
            failure=self.failure,
            fallback=wanted.fallback if wanted else None,
            settled=wanted is not None and any(wanted.accepts(i) for i in ready),
        )


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None and task is not asyncio.current_task():
        task.cancel()
