"""What a keeper does to the world: starting and ending instances, each failure answered by its own delay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xcore.clock import Clock
from xcore.errors import WorkloadRejected, XcoreError
from xcore.plan import Stop
from xcore.runtimes.life import Life
from xcore.runtimes.seams import Drain, Engine, Exited
from xcore.workload import Instance, Workload

ENGINE_DELAYS = (0.25, 0.5, 1.0, 2.0, 4.0)
REJECTED_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
LAST_WORDS_SECONDS = 2.0
_log = logging.getLogger("xcore.keeper")


@dataclass(frozen=True, slots=True)
class Ports:
    """What a keeper needs of the world around it."""

    engine: Engine
    clock: Clock
    dice: Callable[[], float]
    starts: asyncio.Semaphore  # how many instances may be starting at once, over all plugins
    drain: Drain
    changed: Callable[[str], None]
    exited: Exited


class Hands:
    """Those of one keeper. `rejection` is the engine's last refusal of what is still to be started."""

    def __init__(self, name: str, ports: Ports, poke: Callable[[], None]) -> None:
        self.rejection: WorkloadRejected | None = None
        self._name, self._ports, self._poke = name, ports, poke
        self._rejections = 0
        self._rejected_until = 0.0

    def forgive(self) -> None:
        self.rejection, self._rejections = None, 0

    async def start(self, workload: Workload, still: Callable[[], bool]) -> Instance | float:
        """Start an instance if that is `still` wanted in its turn; else give the seconds after which to look again."""
        clock = self._ports.clock
        if self.rejection is not None and clock.time() < self._rejected_until:
            return self._rejected_until - clock.time()
        async with self._ports.starts:
            if not still():
                return 0.0
            try:
                instance = await self._ports.engine.start(workload)
            except WorkloadRejected as error:
                return self._reject(error) if still() else 0.0
        self.forgive()
        return instance

    def _reject(self, error: WorkloadRejected) -> float:
        if self.rejection is None:
            _log.warning("%s: %s", self._name, error.detail)
        self.rejection = error
        self._rejections += 1
        wait = delay(REJECTED_DELAYS, self._rejections)
        self._rejected_until = self._ports.clock.time() + wait
        return wait

    def stop(self, life: Life, step: Stop) -> float | None:
        """Begin to end an instance, unless that is under way; gives the seconds after which to look again."""
        now = self._ports.clock.time()
        if life.ending is None and now < life.retry_at:
            return life.retry_at - now
        if life.ending is None:
            life.stop = step
            life.ending = asyncio.create_task(self._end(life, step))
        return None

    async def _end(self, life: Life, step: Stop) -> None:
        instance = life.instance
        life.failures += 1
        try:
            if step.reason is None:
                await self._ports.drain(self._name, instance.id, step.grace)
            life.unprobe()
            await self._ports.engine.stop(instance, grace=step.grace)
        except XcoreError as error:
            _log.warning("%s: an instance could not be stopped, trying again: %s", self._name, error.detail)
        finally:
            life.retry_at = self._ports.clock.time() + delay(ENGINE_DELAYS, life.failures)
            life.ending = None
            self._poke()

    async def last_words(self, instance: Instance) -> str:
        """Give the last line it wrote, empty where that is not to be had."""
        last = ""
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                async for line in self._ports.engine.logs(instance, lines=20, follow=False):
                    last = line.text.strip() or last
        except (TimeoutError, XcoreError) as error:
            _log.debug("%s: the last lines of an instance are not to be had: %s", self._name, error)
        return last[:300]


def delay(delays: Sequence[float], times: int) -> float:
    return delays[min(times, len(delays)) - 1]
