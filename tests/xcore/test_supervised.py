"""One keeper per plugin over an engine: the promises of every runtime, and those of this one alone."""

import pytest

from tests.xcore.kernel import make_workload
from xcore.runtimes.supervised import Supervised
from xcore.testing import BROKEN, FakeClock, FakeEngine, FakeHost, OutageContract


class TestSupervisedFake(OutageContract):
    @pytest.fixture(autouse=True)
    def _world(self):
        self.clock, self.host = FakeClock(), FakeHost()
        self.engines = []

    async def make(self, owner="first"):
        engine = FakeEngine(self.clock, owner=owner, host=self.host)
        self.engines.append(engine)
        runtime = Supervised(engine, clock=self.clock, dice=lambda: 0.5)
        await runtime.open()
        return runtime

    def workload(self, source, *, name="hello", generation=1, **spec):
        made = make_workload(name, source, generation=generation, **spec)
        behaviour = self.host.behaviours[made.revision]
        behaviour.ready_after = 0.3
        if source == BROKEN:
            behaviour.exits_after = 0.1
        return made

    async def crash(self, instance):
        self.engines[-1].crash(instance.id, code=3)

    async def pause(self):
        for instance in self.engines[-1].found():
            box = self.host.boxes[instance.id]
            if not box.lines:
                self.engines[-1].say(instance.id, "hello from the plugin")
        await self.clock.advance(0.05)

    async def cut(self):
        self.engines[-1].away = True

    async def heal(self):
        self.engines[-1].away = False
