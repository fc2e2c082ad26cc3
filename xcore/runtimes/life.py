"""What is known of one living instance beyond what its engine tells: its probes' verdict, and how we end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from xcore.clock import Clock
from xcore.plan import Stop
from xcore.probes import Prober
from xcore.spec import Probes
from xcore.workload import Instance, Phase

Told = Callable[["Life", Phase, str], None]
_log = logging.getLogger("xcore.keeper")


@dataclass(slots=True, eq=False)
class Life:
    """`since`: of one that an earlier controller left, its start: it was ready from then on, as far as we know.

    `ending` runs while the step `stop` is carried out. `retry_at` is when it may be tried again.
    """

    instance: Instance
    since: float | None = None
    phase: Phase = Phase.Starting
    message: str = ""
    ready_since: float | None = None
    stop: Stop | None = None
    ending: asyncio.Task[None] | None = None
    failures: int = 0
    retry_at: float = 0.0
    _probes: Probes | None = None
    _prober: asyncio.Task[None] | None = None

    @property
    def planned(self) -> bool:
        """Nothing was wrong with it when it was told to stop."""
        return self.stop is not None and self.stop.reason is None

    def seen(self) -> Instance:
        """Give the instance with what its probes tell."""
        leaving = self.ending is not None and self.planned
        return replace(self.instance, phase=Phase.Ending if leaving else self.phase, message=self.message)

    def probe(self, probes: Probes, clock: Clock, told: Told) -> None:
        """Have it probed by these from now on; until they say otherwise it keeps its phase."""
        endpoint = self.instance.endpoint
        running = self._prober is not None and not self._prober.done()
        if endpoint is None or self.ending is not None or self.phase is Phase.Failed:
            return
        if running and probes == self._probes:
            return
        self.unprobe()
        self._probes = probes
        prober = Prober(endpoint, probes, clock, lambda phase, message: told(self, phase, message))
        self._prober = asyncio.create_task(prober.run())
        self._prober.add_done_callback(_complain)

    def unprobe(self) -> None:
        if self._prober is not None:
            self._prober.cancel()
            self._prober = None

    def take_ready(self, now: float) -> None:
        if self.ready_since is None:
            self.ready_since = now if self.since is None else self.since

    async def let_go(self) -> None:
        """End our own tasks about it; the instance stays."""
        tasks = [task for task in (self._prober, self.ending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _complain(prober: asyncio.Task[None]) -> None:
    if not prober.cancelled() and (error := prober.exception()) is not None:
        _log.error("a prober failed; the next look begins anew", exc_info=error)
