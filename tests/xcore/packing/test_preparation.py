"""A controller packs in the background what plugins need, and says what stands in the way."""

import asyncio
import contextlib
import os
import time

import pytest

from tests.support import until, write_plugin
from xcore.bundle import Snapshots
from xcore.errors import InvalidBundle
from xcore.loader import Loader
from xcore.packing import sites as module
from xcore.packing.preparation import Packing
from xcore.packing.sites import COLLECT_AFTER, Sites
from xcore.packing.target import Target
from xcore.packing.uv import Cancelled

NEW = Target("3.13", "x86_64-manylinux_2_28")


class World:
    """A plugins folder, the loader that reads it, and the preparation of what it finds."""

    def __init__(self, root, index):
        self.index, self.plugins = index, root / "plugins"
        self.plugins.mkdir()
        self.loader = Loader(self.plugins, Snapshots(root / "state" / "snapshots"))
        self.sites = Sites(root / "state" / "sites")
        self.packing = Packing(self.sites, NEW, {"click": "8.5.1"})
        self.said = []

    def declared(self, name="hello"):
        return next(found for found in self.loader.scan() if found.folder == name)

    async def prepare(self, name="hello"):
        return await self.packing.prepare(self.declared(name), self.said.append)


@pytest.fixture
def world(tmp_path, index):
    return World(tmp_path, index)


async def test_a_plugin_with_a_lock_gets_its_site_with_progress(world, index, lock):
    index.add("tool")
    made = lock("tool")
    write_plugin(world.plugins / "hello", files={"plugin.lock": str(made)}, dependencies=["tool"])
    prepared = await world.prepare()
    assert (prepared.site / "tool.py").is_file()
    assert "dependencies: unpacking 1 packages for Python 3.13" in world.said


async def test_two_plugins_with_the_same_lock_share_a_site(world, index, lock):
    index.add("tool")
    for name in ("one", "two"):
        write_plugin(world.plugins / name, files={"plugin.lock": str(lock("tool"))}, dependencies=["tool"])
    assert (
        await asyncio.gather(world.prepare("one"), world.prepare("two")) == [await world.prepare("one")] * 2
    )


def test_a_plugin_without_dependencies_needs_nothing(world):
    write_plugin(world.plugins / "hello")
    assert world.packing.key(world.declared()) is None


def test_a_trusted_plugin_is_left_to_its_engine_to_refuse(world):
    write_plugin(world.plugins / "hello", dependencies=["tool"], isolation="Trusted")
    assert world.packing.key(world.declared()) is None


def test_another_lock_is_another_revision_and_another_need(world, index, lock):
    index.add("tool", "1.0")
    folder = write_plugin(
        world.plugins / "hello", files={"plugin.lock": str(lock("tool"))}, dependencies=["tool"]
    )
    before = world.declared()
    index.add("tool", "2.0")
    (folder / "plugin.lock").write_text(str(lock("tool")))
    after = world.declared()
    assert before.revision != after.revision
    assert world.packing.key(before) != world.packing.key(after)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "there is no plugin.lock for spec.dependencies: run `xcore pack DIR`"),
        ("tool==1.0\n", "plugin.lock is not a lock of this version: run `xcore pack DIR`"),
        (
            "other",
            "plugin.lock was made for other, which spec.dependencies no longer name: run `xcore pack DIR`",
        ),
    ],
)
async def test_a_lock_that_is_missing_or_does_not_fit_is_said_with_the_remedy(
    world, index, lock, text, sentence
):
    index.add("other")
    index.add("tool")
    held = str(lock("tool", "other")) if text == "other" else text
    write_plugin(world.plugins / "hello", files={"plugin.lock": held} if held else {}, dependencies=["tool"])
    with pytest.raises(InvalidBundle) as caught:
        await world.prepare()
    assert caught.value.detail == sentence


async def test_what_is_prepared_stays_while_it_is_declared(world, index, lock):
    """Also when the plugin is refused for another reason: its site must be there when that is mended."""
    index.add("tool")
    write_plugin(world.plugins / "hello", files={"plugin.lock": str(lock("tool"))}, dependencies=["tool"])
    site = (await world.prepare()).site
    long_ago = time.time() - 2 * COLLECT_AFTER
    os.utime(site, (long_ago, long_ago))
    world.packing.key(world.declared())
    assert world.sites.collect(frozenset()) == []
    os.utime(site, (long_ago, long_ago))
    assert world.sites.collect(frozenset()) == [site.name]


async def test_a_plugin_that_goes_ends_the_packing_for_it(world, index, lock, monkeypatch):
    index.add("tool")
    write_plugin(world.plugins / "hello", files={"plugin.lock": str(lock("tool"))}, dependencies=["tool"])
    ended = []

    def endless(*arguments):
        try:
            while True:
                arguments[-1].go_on(after=0.01)
        except Cancelled:
            ended.append(True)
            raise

    monkeypatch.setattr(module, "unpack", endless)
    preparing = asyncio.create_task(world.prepare())
    await until(lambda: list(world.sites.directory.glob(".staging-*")))
    preparing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await preparing
    assert ended == [True]
    assert list(world.sites.directory.glob(".staging-*")) == []
