"""One keeper per plugin over an engine: the promises of every runtime, and those of this one alone."""

import asyncio

import pytest

from tests.xcore.kernel import InMemory, make_workload, world
from xcore.errors import PluginNotFound, RuntimeUnavailable, WorkloadRejected
from xcore.runtimes.supervised import Supervised
from xcore.testing import OutageContract


class TestSupervisedFake(InMemory, OutageContract):
    def runtime_over(self, engine):
        return Supervised(engine, clock=self.clock, dice=lambda: 0.5)

    async def cut(self):
        self.engines[-1].away = True

    async def heal(self):
        self.engines[-1].away = False


async def test_what_happens_while_events_are_cut_off_is_found_at_the_next_look(caplog):
    async with world() as w:
        w.want(make_workload())
        before = await w.settled()
        w.engine.host.watchers[0].put_nowait(None)
        w.engine.fail("watch", RuntimeUnavailable("cut"))
        w.engine.fail("watch", RuntimeUnavailable("cut"))
        await w.clock.advance(0.5)
        w.engine.crash(before.id)
        await w.clock.advance(2)
        assert (await w.settled()).id != before.id
        await w.clock.advance(10)
        assert len(w.engine.host.watchers) == 1, "it listens again"
        assert caplog.text.count("events of the engine are cut off") == 1


async def test_without_any_event_an_end_is_found_within_fifteen_seconds():
    async with world() as w:
        w.want(
            make_workload(probes={"liveness": {"periodSeconds": 3600}, "readiness": {"periodSeconds": 3600}})
        )
        before = await w.settled()
        await w.clock.advance(20)
        w.engine.host.watchers.clear()
        w.engine.crash(before.id)
        await w.clock.advance(15.1)
        assert (await w.settled()).id != before.id


async def test_what_cannot_be_swept_is_not_said_to_be_gone():
    async with world() as w:
        await w.engine.start(make_workload("one"))
        await w.engine.start(make_workload("two"))
        w.engine.fail("remove", WorkloadRejected("it is busy"))
        assert len(await w.runtime.sweep()) == 1
        assert len(w.engine.found()) == 1


async def test_stopping_all_also_ends_what_no_keeper_knows():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        await w.engine.start(make_workload("orphan"))
        await w.engine.start(make_workload("ended"))
        w.engine.crash(w.engine.alive("ended")[0].id)
        stopping = asyncio.create_task(w.runtime.stop_all())
        await w.clock.until(stopping.done)
        assert w.engine.found() == []


async def test_stopping_all_does_not_wait_for_an_engine_for_ever():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        w.engine.away = True
        stopping = asyncio.create_task(w.runtime.stop_all())
        await w.clock.until(stopping.done, seconds=60)
        await stopping
        assert len(w.engine.found()) == 1


async def test_what_is_asked_of_an_unknown_plugin_is_refused_or_nothing():
    async with world() as w:
        with pytest.raises(PluginNotFound):
            w.runtime.restart("nobody", make_workload("nobody"))
        with pytest.raises(PluginNotFound):
            await anext(w.runtime.logs("nobody", lines=1, follow=False))
        w.runtime.poke("nobody")
        await w.runtime.remove("nobody")
        assert w.runtime.observed("nobody") is None


async def test_a_followed_log_goes_on_until_the_instance_ends():
    async with world() as w:
        w.want(make_workload(restart={"policy": "Never"}))
        instance = await w.settled()
        w.engine.say(instance.id, "one")
        lines = []

        async def read():
            async for line in w.runtime.logs("hello", lines=5, follow=True):
                lines.append(line.text)  # noqa: PERF401  what was read is looked at meanwhile

        reading = asyncio.create_task(read())
        await w.clock.advance(1)
        assert lines == ["one"]
        w.engine.say(instance.id, "two")
        await w.clock.advance(1)
        assert lines == ["one", "two"]
        await w.crash()
        await w.clock.advance(1)
        assert reading.done()


async def test_changes_are_told_by_name_once_each():
    async with world() as w:
        watching = w.runtime.watch()
        w.want(make_workload())
        assert await anext(watching) == "hello"
        w.want(make_workload("other"))
        waiting = asyncio.create_task(anext(watching))
        await w.clock.advance(1)
        assert await waiting in {"hello", "other"}
