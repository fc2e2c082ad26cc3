"""Probing one instance: start-up, then readiness and liveness, each by its own period and threshold.

Start-up is asked often at first (20 ms, growing to the period), so that a fast plugin is ready fast; what counts
is the window, failureThreshold x periodSeconds. Liveness is not asked before start-up succeeded.

An image is asked for the paths its manifest gives; where it gives none, taking a connection is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xcore.clock import Clock, sleep
from xcore.endpoint import Endpoint
from xcore.errors import UpstreamError
from xcore.spec import Probes, ProbeSpec, Spec
from xcore.workload import Phase

FIRST_INTERVAL = 0.02
GROWTH = 1.4
BODY_LIMIT = 1024
CONNECT = ""  # the path that asks for a connection alone

Report = Callable[[Phase, str], None]


def probes_of(spec: Spec) -> Probes:
    """Give what is to be asked: the runner's own paths, or for an image those that were set, else none."""
    probes = spec.probes
    if spec.source.image is None:
        return probes
    asked = {name: _as_set(getattr(probes, name)) for name in ("startup", "readiness", "liveness")}
    return probes.model_copy(update=asked)


def _as_set(probe: ProbeSpec) -> ProbeSpec:
    return probe if "path" in probe.model_fields_set else probe.model_copy(update={"path": CONNECT})


@dataclass(slots=True)
class _Count:
    """One probe's run of failures, and when it is due."""

    spec: ProbeSpec
    due: float
    failures: int = 0

    def take(self, ok: bool, now: float) -> None:
        self.failures = 0 if ok else self.failures + 1
        self.due = now + self.spec.period_seconds

    @property
    def failed(self) -> bool:
        return self.failures >= self.spec.failure_threshold


class Prober:
    """Runs until cancelled or until the instance has failed for good; reports every change of phase."""

    def __init__(self, endpoint: Endpoint, probes: Probes, clock: Clock, report: Report) -> None:
        self._endpoint, self._probes, self._clock, self._report = endpoint, probes, clock, report
        self._told: Phase | None = None

    async def run(self) -> None:
        if await self._startup():
            await self._watch()

    async def _watch(self) -> None:
        now = self._clock.time()
        readiness, liveness = _Count(self._probes.readiness, now), _Count(self._probes.liveness, now)
        while True:
            if readiness.due <= self._clock.time():
                await self._readiness(readiness)
            if liveness.due <= self._clock.time():
                ok, why = await self._ask(liveness.spec)
                liveness.take(ok, self._clock.time())
                if liveness.failed:
                    self._tell(Phase.Failed, f"liveness: {why}")
                    return
            await sleep(self._clock, max(0.0, min(readiness.due, liveness.due) - self._clock.time()))

    async def _startup(self) -> bool:
        probe = self._probes.startup
        deadline = self._clock.time() + probe.failure_threshold * probe.period_seconds
        interval = FIRST_INTERVAL
        while True:
            ok, why = await self._ask(probe)
            if ok:
                return True
            if self._clock.time() >= deadline:
                self._tell(Phase.Failed, f"start-up: {why}")
                return False
            await sleep(self._clock, interval)
            interval = min(interval * GROWTH, probe.period_seconds)

    async def _readiness(self, count: _Count) -> None:
        ok, why = await self._ask(count.spec)
        count.take(ok, self._clock.time())
        if ok:
            self._tell(Phase.Ready, "")
        elif count.failed or self._told is None:
            self._tell(Phase.Unready, f"readiness: {why}")

    def _tell(self, phase: Phase, message: str) -> None:
        if phase is not self._told:
            self._told = phase
            self._report(phase, message)

    async def _ask(self, probe: ProbeSpec) -> tuple[bool, str]:
        try:
            status, _ = await self._endpoint.get(probe.path, seconds=probe.timeout_seconds, limit=BODY_LIMIT)
        except UpstreamError as error:
            return False, error.detail
        return 200 <= status < 400, f"{probe.path} answered {status}"
