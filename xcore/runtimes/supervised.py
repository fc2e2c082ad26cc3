"""A Runtime made of an Engine: one keeper per plugin, over whatever can start and stop single instances."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence

from xcore.clock import Clock, SystemClock, sleep
from xcore.errors import PluginNotFound, Problem, RuntimeUnavailable, XcoreError
from xcore.manifest import Manifest
from xcore.plan import FAILED_GRACE, Wanted
from xcore.restart import Restarts
from xcore.runtimes.hands import Ports
from xcore.runtimes.hints import Hints
from xcore.runtimes.keeper import Keeper
from xcore.runtimes.seams import Drain, Engine, Exited, Observed
from xcore.workload import Exit, Instance, LogLine, Workload

STARTS_AT_ONCE = 4
WATCH_AGAIN = 1.0
STOP_MARGIN = 10.0  # beyond draining and grace: what the engine itself may take to stop everything
_log = logging.getLogger("xcore.supervised")


async def _no_drain(plugin: str, instance: str, seconds: float) -> None:
    """Nobody routes to these instances."""


def _no_listener(instance: Instance, ended: Exit) -> None:
    """Nobody wants to hear."""


class Supervised:
    """See `Runtime`."""

    def __init__(
        self, engine: Engine, *, clock: Clock | None = None, dice: Callable[[], float] = random.random
    ) -> None:
        self.engine = engine
        self._clock = clock or SystemClock()
        self._dice = dice
        self._drain: Drain = _no_drain
        self._exited: Exited = _no_listener
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._keepers: dict[str, Keeper] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._hints = Hints()

    def attach(self, *, drain: Drain, exited: Exited) -> None:
        self._drain, self._exited = drain, exited

    async def open(self) -> None:
        await self.engine.open()
        self._watching = asyncio.create_task(self._follow())

    def check(self, manifest: Manifest) -> Sequence[Problem]:
        return self.engine.check(manifest)

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:
        return self.engine.isolates(workload)

    def image(self, workload: Workload | None) -> str:
        return self.engine.image(workload)

    # -- what is wanted -----------------------------------------------------------------------------------------

    def apply(
        self, workload: Workload, *, fallback: Workload | None, suspended: bool, history: Restarts
    ) -> None:
        keeper = self._keepers.get(workload.name)
        if keeper is None or keeper.gone.is_set():
            self._keep(Keeper(workload.name, self._ports(), Wanted(workload, fallback, suspended), history))
        else:
            keeper.want(workload, fallback, suspended=suspended, history=history)
            keeper.poke()

    def restart(self, plugin: str, workload: Workload) -> None:
        keeper = self._keeper(plugin)
        keeper.restart(workload)
        keeper.poke()

    async def remove(self, plugin: str) -> None:
        keeper = self._keepers.get(plugin)
        if keeper is not None:
            await keeper.leave()

    def _ports(self) -> Ports:
        return Ports(
            engine=self.engine,
            clock=self._clock,
            dice=self._dice,
            starts=self._starts,
            drain=self._drain,
            changed=self._hints.give,
            exited=self._exited,
        )

    def _keep(self, keeper: Keeper) -> None:
        self._keepers[keeper.name] = keeper
        task = asyncio.create_task(keeper.run())
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._kept, keeper))

    def _kept(self, keeper: Keeper, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._keepers.get(keeper.name) is keeper and keeper.gone.is_set():
            del self._keepers[keeper.name]
            self._hints.give(keeper.name)

    # -- what is so ---------------------------------------------------------------------------------------------

    def observed(self, plugin: str) -> Observed | None:
        keeper = self._keepers.get(plugin)
        return keeper.observed() if keeper else None

    def watch(self) -> AsyncIterator[str]:
        return self._hints.follow()

    def poke(self, plugin: str) -> None:
        keeper = self._keepers.get(plugin)
        if keeper is not None:
            keeper.poke()

    async def logs(self, plugin: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """Give the lines of every instance still known, oldest first; following goes with the newest one."""
        self._keeper(plugin)
        instances = sorted(await self.engine.list(plugin), key=lambda i: i.started_at)
        for number, instance in enumerate(instances, 1):
            newest = number == len(instances)
            async for line in self.engine.logs(instance, lines=lines, follow=follow and newest):
                yield line

    # -- cleaning up --------------------------------------------------------------------------------------------

    async def sweep(self) -> Sequence[str]:
        orphans = [i for i in await self.engine.list() if i.plugin not in self._keepers]
        return [instance.id for instance in orphans if await self._discard(instance)]

    async def stop_all(self) -> None:
        """End every instance: as a removal would, then whatever is left of this owner."""
        keepers = list(self._keepers.values())
        leaving = asyncio.gather(*(keeper.leave() for keeper in keepers))
        longest = 2 * max((keeper.grace for keeper in keepers), default=0.0) + STOP_MARGIN
        done = asyncio.Event()
        leaving.add_done_callback(lambda _: done.set())
        if keepers and not await self._clock.wait(done, longest):
            leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await self._end_keepers()
        try:
            await asyncio.gather(*(self._discard(instance) for instance in await self.engine.list()))
        except RuntimeUnavailable as error:
            _log.warning("instances are left behind: %s", error.detail)

    async def aclose(self) -> None:
        await self._end_keepers()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self.engine.aclose()

    async def _end_keepers(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _discard(self, instance: Instance) -> bool:
        try:
            if instance.exit is None:
                await self.engine.stop(instance, grace=FAILED_GRACE)
            await self.engine.remove(instance)
        except XcoreError as error:
            _log.warning("%s: an instance could not be removed: %s", instance.plugin, error.detail)
            return False
        return True

    async def _follow(self) -> None:
        cut = False
        while True:
            try:
                async for plugin in self.engine.watch():
                    cut = False
                    self.poke(plugin)
            except XcoreError as error:
                if not cut:
                    _log.warning("events of the engine are cut off: %s", error.detail)
                cut = True
            for keeper in self._keepers.values():
                keeper.poke()  # what happened meanwhile is found by looking
            await sleep(self._clock, WATCH_AGAIN)

    def _keeper(self, plugin: str) -> Keeper:
        keeper = self._keepers.get(plugin)
        if keeper is None:
            raise PluginNotFound(f"there is no plugin {plugin!r}")
        return keeper
