"""What the tests of the kernel share: workloads without folders, and a runtime over an engine in memory."""

import contextlib
import hashlib
from pathlib import Path

import pytest

from tests.support import manifest
from xcore.restart import Restarts
from xcore.runtimes.supervised import Supervised
from xcore.testing import FakeClock, FakeEngine, FakeHost
from xcore.workload import Workload


def make_workload(name="hello", code="a", *, generation=1, **spec):
    """A workload whose revision follows its code alone, as if nothing of `spec` rolled it."""
    revision = hashlib.sha256(f"{name} {code}".encode()).hexdigest()
    return Workload(manifest(name, **spec), revision, generation, Path("/snapshots") / revision)


class InMemory:
    """What a suite of promises needs, over engines in memory: mix it in and give `runtime_over(engine)`.

    `RuntimeError` in the source stands for code that cannot be loaded.
    """

    @pytest.fixture(autouse=True)
    def _world(self):
        self.clock, self.host, self.engines = FakeClock(), FakeHost(), []

    async def make(self, owner="first"):
        engine = FakeEngine(self.clock, owner=owner, host=self.host)
        self.engines.append(engine)
        runtime = self.runtime_over(engine)
        await runtime.open()
        return runtime

    def workload(self, source, *, name="hello", generation=1, **spec):
        made = make_workload(name, source, generation=generation, **spec)
        behaviour = self.host.behaviours[made.revision]
        behaviour.ready_after = 0.3
        if "RuntimeError" in source:
            behaviour.exits_after = 0.1
        return made

    async def crash(self, instance):
        self.engines[-1].crash(instance.id, code=3)

    async def limits(self, instance):
        given = self.host.boxes[instance.id].workload.manifest.spec.resources
        return {"cpu": given.cpu_cores, "memory": given.memory_bytes, "tmp": given.tmp_bytes}

    async def pause(self):
        for instance in self.engines[-1].found():
            if not self.host.boxes[instance.id].lines:
                self.engines[-1].say(instance.id, "hello from the plugin")
        await self.clock.advance(0.05)


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
