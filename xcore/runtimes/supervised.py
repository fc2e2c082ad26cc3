"""A Runtime made of an Engine: one keeper per plugin, over whatever can start and stop single instances."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from xcore.clock import Clock, SystemClock, sleep
from xcore.errors import PluginNotFound, Problem, RuntimeUnavailable, XcoreError
from xcore.manifest import Manifest
from xcore.plan import FAILED_GRACE, Wanted
from xcore.restart import Restarts
from xcore.runtimes.keeper import Keeper, Ports
from xcore.runtimes.seams import Engine, Observed
from xcore.workload import Exit, Instance, LogLine, Workload

STARTS_AT_ONCE = 4
_log = logging.getLogger("xcore.supervised")

Drain = Callable[[str, str, float], Awaitable[None]]


async def _no_drain(plugin: str, instance: str, seconds: float) -> None:
    """Nobody routes to these instances."""


class Supervised:
    """See `Runtime`. `drain(plugin, instance, seconds)` returns when no request is sent to the instance any more."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock | None = None,
        dice: Callable[[], float] = random.random,
        drain: Drain = _no_drain,
        exited: Callable[[Instance, Exit], None] = lambda _i, _e: None,
    ) -> None:
        self.engine = engine
        self._keepers: dict[str, tuple[Keeper, asyncio.Task[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = clock or SystemClock()
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._ports = Ports(
            engine=engine,
            clock=self._clock,
            dice=dice,
            starts=asyncio.Semaphore(STARTS_AT_ONCE),
            drain=drain,
            changed=self._note,
            exited=exited,
        )

    async def open(self) -> None:
        await self.engine.open()
        self._tasks.append(asyncio.create_task(self._follow()))

    def check(self, manifest: Manifest) -> Sequence[Problem]:
        problems = list(self.engine.check(manifest))
        if manifest.spec.replicas != 1:
            problems.append(Problem("spec.replicas", "only 1 on this runtime"))
        return problems

    def apply(
        self, workload: Workload, *, fallback: Workload | None, suspended: bool, history: Restarts
    ) -> None:
        running = self._keepers.get(workload.name)
        if running is None:
            keeper = Keeper(workload.name, self._ports, Wanted(workload, fallback, suspended), history)
            self._keepers[workload.name] = (keeper, asyncio.create_task(keeper.run()))
            return
        keeper = running[0]
        before = keeper.current
        wanted = Wanted(workload, fallback, suspended)
        if before is not None:
            # The keeper knows better what was last ready than whoever applies.
            wanted = replace(
                wanted, fallback=before.fallback or fallback, broken=before.broken, since=before.since
            )
            if before.suspended and not suspended:
                keeper.forgive()
        keeper.want(wanted)

    def restart(self, plugin: str, workload: Workload) -> None:
        keeper = self._keeper(plugin)
        before = keeper.current
        if before is not None:
            keeper.forgive()
            keeper.want(replace(before, target=workload, since=workload.generation, broken=frozenset()))

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:
        return self.engine.isolates(workload)

    def image(self, workload: Workload | None) -> str:
        return self.engine.image(workload)

    async def remove(self, plugin: str) -> None:
        running = self._keepers.get(plugin)
        if running is None:
            return
        keeper, task = running
        keeper.want(None)
        await keeper.gone.wait()
        await task
        self._keepers.pop(plugin, None)
        self._note(plugin)

    def observed(self, plugin: str) -> Observed | None:
        running = self._keepers.get(plugin)
        return running[0].observed() if running else None

    async def watch(self) -> AsyncIterator[str]:
        while True:
            while self._changed:
                plugin = next(iter(self._changed))
                del self._changed[plugin]
                yield plugin
            self._wake.clear()
            await self._wake.wait()

    def poke(self, plugin: str) -> None:
        running = self._keepers.get(plugin)
        if running is not None:
            running[0].poke()

    async def sweep(self) -> Sequence[str]:
        orphans = [i for i in await self.engine.list() if i.plugin not in self._keepers]
        for instance in orphans:
            await self._discard(instance)
        return [instance.id for instance in orphans]

    async def logs(self, plugin: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """Give the lines of every instance still known, oldest first; following goes with the newest one."""
        self._keeper(plugin)
        instances = sorted(await self.engine.list(plugin), key=lambda i: i.started_at)
        for number, instance in enumerate(instances, 1):
            newest = number == len(instances)
            async for line in self.engine.logs(instance, lines=lines, follow=follow and newest):
                yield line

    async def stop_all(self) -> None:
        await self._end_keepers()
        async with asyncio.TaskGroup() as group:
            for instance in await self.engine.list():
                group.create_task(self._discard(instance))

    async def aclose(self) -> None:
        await self._end_keepers()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.engine.aclose()

    async def _end_keepers(self) -> None:
        tasks = [task for _, task in self._keepers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _discard(self, instance: Instance) -> None:
        try:
            if instance.exit is None:
                await self.engine.stop(instance, grace=FAILED_GRACE)
            await self.engine.remove(instance)
        except XcoreError as error:
            _log.warning("%s: an instance could not be removed: %s", instance.plugin, error.detail)

    async def _follow(self) -> None:
        while True:
            try:
                async for plugin in self.engine.watch():
                    self.poke(plugin)
            except RuntimeUnavailable as error:
                _log.warning("events of the engine are cut off: %s", error.detail)
            for keeper, _ in self._keepers.values():
                keeper.poke()  # what happened meanwhile is found by looking
            await sleep(self._clock, 1.0)

    def _keeper(self, plugin: str) -> Keeper:
        running = self._keepers.get(plugin)
        if running is None:
            raise PluginNotFound(f"there is no plugin {plugin!r}")
        return running[0]

    def _note(self, plugin: str) -> None:
        self._changed[plugin] = None
        self._wake.set()
