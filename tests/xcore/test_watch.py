"""Changes below the plugins directory are noticed, whatever becomes of the directory itself."""

import asyncio
import contextlib
import shutil

import pytest

from tests.support import until
from xcore import watch


@contextlib.asynccontextmanager
async def seen(directory):
    """What lay in the directory whenever it was to be looked at; the watch is taken up again as the controller does."""
    found = []

    async def follow():
        while True:
            with contextlib.suppress(OSError):
                async for _ in watch.changes(directory):
                    names = sorted(path.name for path in directory.iterdir())
                    found.append(names)
            await asyncio.sleep(0.01)

    following = asyncio.create_task(follow())
    try:
        yield found
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@pytest.fixture
def no_rescan(monkeypatch):
    """Whatever is seen was noticed: the look at every so many seconds does not come."""
    monkeypatch.setattr(watch, "_LOOK_MS", 100)
    monkeypatch.setattr(watch, "RESCAN_SECONDS", 10**9)


@pytest.mark.parametrize("full", [True, False])
async def test_a_directory_that_was_replaced_is_watched_again(tmp_path, no_rescan, full):
    """`rm -rf plugins; mkdir plugins`, with something in it or not: what is put into the new one is noticed."""
    plugins = tmp_path / "plugins"
    (plugins / "a").mkdir(parents=True)
    async with seen(plugins) as found:
        await until(lambda: ["a"] in found)
        if not full:
            (plugins / "a").rmdir()
            await until(lambda: found[-1] == [])
        shutil.rmtree(plugins)
        plugins.mkdir()
        (plugins / "b").mkdir()
        await until(lambda: found[-1] == ["b"])
        (plugins / "b").rename(plugins / "c")
        await until(lambda: found[-1] == ["c"])


async def test_a_directory_that_comes_later_is_watched(tmp_path, no_rescan):
    plugins = tmp_path / "plugins"
    async with seen(plugins) as found:
        plugins.mkdir()
        await until(lambda: [] in found)
        (plugins / "a").mkdir()
        await until(lambda: found[-1] == ["a"])


async def test_where_nothing_tells_it_is_looked_at_all_the_same(tmp_path, monkeypatch):
    """Some file systems report no change: after its time, a look is asked for without one."""
    monkeypatch.setattr(watch, "_LOOK_MS", 20)
    async with seen(tmp_path) as found:
        await until(lambda: len(found) > 3)
