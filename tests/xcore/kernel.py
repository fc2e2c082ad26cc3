"""What the tests of the kernel share: workloads without folders, and a runtime over an engine in memory."""

import contextlib
import hashlib
from pathlib import Path

from tests.support import manifest
from xcore.restart import Restarts
from xcore.runtimes.supervised import Supervised
from xcore.testing import FakeClock, FakeEngine
from xcore.workload import Workload


def make_workload(name="hello", code="a", *, generation=1, **spec):
    """A workload whose revision follows its code alone, as if nothing of `spec` rolled it."""
    revision = hashlib.sha256(f"{name} {code}".encode()).hexdigest()
    return Workload(manifest(name, **spec), revision, generation, Path("/snapshots") / revision)


class World:
    """One runtime, its engine and its clock. Names of codes ("a", "b") stand for revisions."""

    def __init__(self, clock, engine, runtime):
        self.clock, self.engine, self.runtime = clock, engine, runtime
        self.ends = []
        runtime.attach(drain=self.drain, exited=lambda instance, ended: self.ends.append(ended))
        self.drained = []

    async def drain(self, plugin, instance, seconds):
        self.drained.append(instance)

    def want(self, workload, *, fallback=None, suspended=False, history=None):
        self.runtime.apply(workload, fallback=fallback, suspended=suspended, history=history or Restarts())

    def behaves(self, code, name="hello"):
        return self.engine.behaves(make_workload(name, code).revision)

    def now(self, name="hello"):
        return self.runtime.observed(name)

    def serving(self, name="hello"):
        observed = self.now(name)
        return observed.serving if observed else None

    @property
    def born(self):
        return self.engine.host.born

    async def settled(self, name="hello", *, seconds=120):
        """Wait until what is wanted serves, alone."""

        def alone():
            now = self.now(name)
            return now and now.settled and len(now.instances) == 1 and not now.leaving

        await self.clock.until(alone, seconds=seconds)
        return self.serving(name)

    async def crash(self, *args, **kwargs):
        self.engine.crash(self.serving().id, *args, **kwargs)
        await self.clock.advance(0.06)

    async def healthy(self, minutes):
        await self.clock.advance(60 * minutes)


@contextlib.asynccontextmanager
async def world(*, dice=lambda: 0.5, engine=None, clock=None):
    """A world that is left as it is: instances stay on the engine."""
    clock = clock or FakeClock()
    engine = engine or FakeEngine(clock)
    made = World(clock, engine, Supervised(engine, clock=clock, dice=dice))
    await made.runtime.open()
    try:
        yield made
    finally:
        await made.runtime.aclose()
