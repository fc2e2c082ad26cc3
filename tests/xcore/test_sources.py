"""Sources: everything declared is handed over at once; what is not ready to run yet says so and holds up nobody."""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support import manifest, until
from xcore import sources as module
from xcore.bundle import revision
from xcore.errors import ImagePull, InvalidSpec
from xcore.loader import Declared
from xcore.sources import RETRY_SECONDS, Prepared, Sources
from xcore.testing import FakeClock

SITE = Prepared(site=Path("/sites/1"))


@dataclass
class Door:
    """A source whose declarations a test sets."""

    declared: list = field(default_factory=list)
    error: Exception | None = None

    def scan(self):
        if self.error is not None:
            raise self.error
        return self.declared


class Kitchen:
    """A preparation of what `config.needs` names; a test says how each ends."""

    fresh_seconds = None

    def __init__(self):
        self.results, self.started, self.stopped = {}, [], []
        self.said = None

    def key(self, declared):
        return declared.manifest.spec.config.get("needs")

    async def prepare(self, declared, say):
        key = self.key(declared)
        self.started.append(key)
        self.said = say
        result = self.results.setdefault(key, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            self.stopped.append(key)
            raise

    def ends(self, key, result):
        self.results[key] = asyncio.get_running_loop().create_future()
        if isinstance(result, Exception):
            self.results[key].set_exception(result)
        else:
            self.results[key].set_result(result)

    def finishes(self, key, result):
        self.results[key].set_result(result)


def plugin(name="hello", **config):
    made = manifest(name, config=config)
    return Declared(name, made, "d1", revision("d1", made), Path("/snapshots/d1"))


class World:
    def __init__(self):
        self.clock, self.door, self.kitchen = FakeClock(), Door(), Kitchen()
        self.sources = Sources([self.door], [self.kitchen], clock=self.clock)
        self.handed = []

    async def sync(self, declared):
        self.handed.append(declared)

    @contextlib.asynccontextmanager
    async def following(self, *declared):
        self.door.declared = list(declared)
        following = asyncio.create_task(self.sources.follow(self.sync))
        try:
            await self.sources.refresh()
            yield self
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self.sources.aclose()

    async def now(self, *declared):
        if declared:
            self.door.declared = list(declared)
        await self.sources.refresh()
        return {item.folder: item for item in self.handed[-1]}


async def test_a_plugin_that_needs_nothing_is_handed_over_as_it_is():
    async with World().following(plugin()) as world:
        assert world.handed[-1] == [plugin()]


async def test_what_is_prepared_tells_its_progress_and_holds_up_nobody():
    slow, quick = plugin("slow", needs="lock"), plugin("quick")
    async with World().following(slow, quick) as world:
        await until(lambda: world.kitchen.said)
        world.kitchen.said("2 of 7 wheels")
        assert [d.pending for d in (await world.now()).values()] == ["2 of 7 wheels", ""]
        world.kitchen.finishes("lock", SITE)
        await until(lambda: not world.handed[-1][0].pending)
        assert world.handed[-1][0] == replace(slow, site=SITE.site)


async def test_the_same_need_is_prepared_once():
    async with World().following(plugin(needs="lock")) as world:
        await until(lambda: world.kitchen.said)
        world.kitchen.finishes("lock", SITE)
        for number in range(3):
            found = await world.now(plugin(needs="lock", other=number))
        assert found["hello"].site == SITE.site
        assert world.kitchen.started == ["lock"]


async def test_another_need_stops_what_was_prepared_for_the_last_one():
    async with World().following(plugin(needs="old")) as world:
        await until(lambda: world.kitchen.started)
        await world.now(plugin(needs="new"))
        await until(lambda: world.kitchen.stopped)
        assert (world.kitchen.started, world.kitchen.stopped) == (["old", "new"], ["old"])


async def test_nothing_is_prepared_for_a_plugin_that_went():
    async with World().following(plugin(needs="lock")) as world:
        await until(lambda: world.kitchen.started)
        await world.now(plugin("other"))
        await until(lambda: world.kitchen.stopped)


async def test_a_failure_is_told_and_tried_again_after_longer_and_longer_waits():
    world = World()
    async with world.following():
        world.kitchen.ends("lock", ImagePull("no such image"))
        await world.now(plugin(needs="lock"))
        await until(lambda: world.handed[-1] and world.handed[-1][0].error)
        assert str(world.handed[-1][0].error) == "no such image"
        await world.clock.advance(RETRY_SECONDS * 1.1)
        await until(lambda: len(world.kitchen.started) == 2)
        await world.now()
        await world.clock.advance(RETRY_SECONDS * 1.5)
        await world.now()
        assert len(world.kitchen.started) == 2
        world.kitchen.ends("lock", SITE)
        await world.clock.advance(RETRY_SECONDS)
        await until(lambda: len(world.kitchen.started) == 3)
        await until(lambda: world.handed[-1][0].site == SITE.site)


async def test_a_result_holds_until_a_newer_one_is_there_even_when_that_fails():
    world = World()
    world.kitchen.fresh_seconds = 15.0
    async with world.following():
        world.kitchen.ends("tag", Prepared(image="sha256:1"))
        await world.now(plugin(needs="tag"))
        await until(lambda: world.handed[-1] and world.handed[-1][0].image)
        first = world.handed[-1][0]
        world.kitchen.ends("tag", ImagePull("the registry is away"))
        await world.clock.advance(16)
        await until(lambda: len(world.kitchen.started) == 2)
        await world.now()
        assert world.handed[-1][0] == first
        world.kitchen.ends("tag", Prepared(image="sha256:2"))
        await world.clock.advance(RETRY_SECONDS)
        await until(lambda: world.handed[-1][0].image == "sha256:2")
        assert world.handed[-1][0].revision != first.revision


async def test_a_door_that_cannot_be_read_changes_nothing_and_is_told_to_who_waits():
    async with World().following(plugin()) as world:
        world.door.error = InvalidSpec("the plugins directory cannot be read")
        with pytest.raises(InvalidSpec):
            await world.sources.refresh()
        assert len(world.handed) == 1


async def test_a_door_that_stays_unreadable_is_told_once(caplog, monkeypatch):
    """Not once a second; again when the reason is another one."""
    monkeypatch.setattr(module, "_UNREADABLE_SECONDS", 0)
    async with World().following(plugin()) as world:
        for reason in ("gone", "gone", "gone", "odd", "gone"):
            world.door.error = InvalidSpec(reason)
            with pytest.raises(InvalidSpec):
                await world.sources.refresh()
    assert [record.message.rpartition(" ")[2] for record in caplog.records] == ["gone", "odd", "gone"]


async def test_what_was_refused_before_is_not_prepared():
    broken = replace(plugin(needs="lock"), error=InvalidSpec("no"))
    async with World().following(broken) as world:
        assert (world.handed[-1], world.kitchen.started) == ([broken], [])
