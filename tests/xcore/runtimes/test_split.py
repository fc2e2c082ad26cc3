"""Trusted plugins in one runtime, sandboxes in another, told as one."""

import pytest

from tests.xcore.kernel import InMemory, make_workload
from xcore.errors import PluginNotFound
from xcore.restart import Restarts
from xcore.runtimes.split import Split
from xcore.runtimes.supervised import Supervised
from xcore.testing import FakeClock, FakeEngine, FakeHost, RuntimeContract


class Halves:
    def __init__(self):
        self.clock = FakeClock()
        self.engines = {name: FakeEngine(self.clock, host=FakeHost()) for name in ("sandboxed", "trusted")}
        self.split = Split(*(Supervised(engine, clock=self.clock) for engine in self.engines.values()))

    def found(self, name):
        return [i.plugin for i in self.engines[name].found() if i.exit is None]

    def want(self, workload):
        self.split.apply(workload, fallback=None, suspended=False, history=Restarts())


@pytest.fixture
async def halves():
    made = Halves()
    await made.split.open()
    yield made
    await made.split.aclose()


async def test_each_plugin_runs_where_its_isolation_says(halves):
    halves.want(make_workload("careful"))
    halves.want(make_workload("close", isolation="Trusted"))
    await halves.clock.until(
        lambda: halves.split.observed("careful").settled and halves.split.observed("close").settled
    )
    assert (halves.found("sandboxed"), halves.found("trusted")) == (["careful"], ["close"])


async def test_a_plugin_that_moves_leaves_nothing_behind(halves):
    halves.want(make_workload("hello", isolation="Trusted"))
    await halves.clock.until(lambda: halves.split.observed("hello").settled)
    halves.want(make_workload("hello", "other", generation=2))
    await halves.clock.until(lambda: halves.split.observed("hello").settled and not halves.found("trusted"))
    assert (halves.found("sandboxed"), halves.found("trusted")) == (["hello"], [])


async def test_what_nobody_wants_is_nowhere(halves):
    assert halves.split.observed("nobody") is None
    await halves.split.remove("nobody")
    with pytest.raises(PluginNotFound):
        halves.split.restart("nobody", make_workload("nobody"))


class TestSplit(InMemory, RuntimeContract):
    """The promises hold for the whole as for its halves."""

    def runtime_over(self, engine):
        trusted = Supervised(FakeEngine(self.clock, host=FakeHost()), clock=self.clock)
        return Split(Supervised(engine, clock=self.clock, dice=lambda: 0.5), trusted)
