"""Whatever happens in whatever order, a plugin comes to rest as wanted, and nothing gentle ever interrupts it."""

import asyncio
import logging
from dataclasses import replace

from hypothesis import given, settings, strategies as st

from tests.xcore.kernel import World, make_workload
from xcore.errors import RuntimeUnavailable, WorkloadRejected
from xcore.restart import Restarts
from xcore.runtimes.supervised import Supervised
from xcore.testing import FakeClock, FakeEngine
from xcore.workload import ExitReason, Phase

CODES = "abc"
SPECS = ({}, {"traffic": {"maxConcurrentRequests": 1}}, {"probes": {"readiness": {"periodSeconds": 2}}})
UNAVAILABLE, REJECTED = RuntimeUnavailable("no answer"), WorkloadRejected("no")

codes = st.sampled_from(CODES)
steps = st.one_of(
    st.tuples(st.just("apply"), codes, st.sampled_from(SPECS)),
    st.tuples(st.just("restart")),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.06, 0.3, 1.0, 7.0, 31.0, 150.0])),
    st.tuples(st.just("away")),
    st.tuples(st.just("back")),
    st.tuples(st.just("break"), codes, st.sampled_from(["crash", "crash later", "hang", "slow", "unready"])),
    st.tuples(st.just("fix"), codes),
    st.tuples(st.just("fault"), st.sampled_from(["start", "stop", "remove", "list"]), st.booleans()),
    st.tuples(st.just("controller")),
    st.tuples(st.just("poke")),
    st.tuples(st.just("crash"), st.sampled_from(list(ExitReason))),
    st.tuples(st.just("vanish")),
    st.tuples(st.just("oom")),
    st.tuples(st.just("evict")),
    st.tuples(st.just("suspend")),
    st.tuples(st.just("resume")),
    st.tuples(st.just("remove")),
)
HARM = {"crash", "vanish", "oom", "evict", "suspend", "remove"}


class Simulation:
    """One plugin's life; `calm` while it serves and nobody did it any harm."""

    def __init__(self):
        self.clock = FakeClock()
        self.engine = FakeEngine(self.clock)
        self.generation = 1
        self.wanted = make_workload(code="a")
        self.suspended = False
        self.memory = (None, Restarts())  # what a controller writes down: what was good, what was spent
        self.removals = []
        self.calm = False

    async def start(self):
        self.world = World(
            self.clock, self.engine, Supervised(self.engine, clock=self.clock, dice=lambda: 0.5)
        )
        await self.world.runtime.open()
        self.want()

    def want(self):
        fallback, history = self.memory
        self.world.want(self.wanted, fallback=fallback, suspended=self.suspended, history=history)

    def remember(self):
        now = self.world.now()
        if now is not None:
            self.memory = (now.fallback or self.memory[0], now.restarts)

    async def take(self, step):
        await getattr(self, step[0])(*step[1:])
        await self.clock.advance(0.06)
        self.remember()
        assert len(self.engine.alive()) <= 4
        if step[0] in HARM:
            self.calm = False
        elif self.calm:
            assert self.ready(), f"{step} interrupted it"
        elif step[0] == "wait" and step[1] >= 7 and not self.engine.away:
            self.calm = self.ready()

    def ready(self):
        """Whether somebody gets requests."""
        return self.world.serving() is not None

    async def apply(self, code, spec):
        self.generation += 1
        self.wanted = make_workload(code=code, generation=self.generation, **spec)
        self.want()

    async def restart(self):
        if not self.suspended and self.world.now() is not None and self.world.now().wanted is not None:
            self.generation += 1
            self.wanted = replace(self.wanted, generation=self.generation)
            self.world.runtime.restart("hello", self.wanted)

    async def wait(self, seconds):
        await self.clock.advance(seconds)

    async def away(self):
        self.engine.away = True

    async def back(self):
        self.engine.away = False

    async def evict(self):
        self.engine.away = True
        for instance in self.engine.alive():
            self.engine.crash(instance.id, ExitReason.Evicted, 137)

    async def break_(self, code, how):
        revision = make_workload(code=code).revision
        if any(i.revision == revision for i in self.engine.alive()):
            return  # only what is to start is spoilt, so that what serves can go on serving
        behaviour = self.engine.behaves(revision)
        if how == "unready":
            behaviour.ready = False
        elif how == "hang":
            behaviour.ready_after = 1e9
        elif how == "slow":
            behaviour.ready_after = 20.0
        else:
            behaviour.exits_after, behaviour.ready_after = (0.0 if how == "crash" else 5.0), 10.0

    async def fix(self, code):
        behaviour = self.engine.behaves(make_workload(code=code).revision)
        behaviour.ready_after, behaviour.exits_after, behaviour.ready = 0.0, None, True

    async def fault(self, call, after):
        error = REJECTED if call == "start" and not after else UNAVAILABLE
        self.engine.fail(call, error, after=after and call in {"start", "stop"})

    async def controller(self):
        if self.engine.away:
            return  # it would not start
        self.remember()
        await self.world.runtime.aclose()
        await self.start()

    async def poke(self):
        for _ in range(5):
            self.world.runtime.poke("hello")
            await asyncio.sleep(0)

    async def crash(self, reason):
        for instance in self.engine.alive()[:1]:
            self.engine.crash(instance.id, reason)

    async def vanish(self):
        for instance in self.engine.found()[:1]:
            self.engine.vanish(instance.id)

    async def oom(self):
        for instance in self.engine.alive()[:1]:
            self.engine.oom(instance.id)

    async def suspend(self):
        self.suspended = True
        self.want()

    async def resume(self):
        self.suspended = False
        self.want()

    async def remove(self):
        self.removals.append(asyncio.create_task(self.world.runtime.remove("hello")))
        await asyncio.sleep(0)
        self.memory = (None, Restarts())
        self.want()

    async def rest(self):
        """Nothing goes wrong any more: what becomes of it?"""
        self.engine.away = False
        self.engine._faults.clear()
        for code in CODES:
            await self.fix(code)
        await self.resume()
        await self.clock.advance(20)
        await self.restart()
        await self.clock.advance(200)
        now = self.world.now()
        assert now.settled
        assert now.failure is None
        assert now.leaving == ()
        [instance] = self.engine.alive()
        assert (instance.revision, instance.generation) == (self.wanted.revision, self.generation)
        assert [i.phase for i in now.instances] == [Phase.Ready]
        assert len(self.engine.found()) <= 2, "an ended one may stay for its logs"
        assert all(removal.done() for removal in self.removals)
        await self.world.runtime.aclose()


setattr(Simulation, "break", Simulation.break_)


async def simulate(schedule):
    simulation = Simulation()
    await simulation.start()
    for step in schedule:
        await simulation.take(step)
    await simulation.rest()


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=15))
def test_it_comes_to_rest_as_wanted_and_nothing_gentle_interrupts_it(schedule):
    logging.disable(logging.WARNING)
    try:
        asyncio.run(simulate(schedule))
    finally:
        logging.disable(logging.NOTSET)
