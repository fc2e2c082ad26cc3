"""Keys come up once, one at a time for each, and again after a failure."""

import asyncio
import contextlib

from tests.support import until
from xcore.errors import RuntimeUnavailable
from xcore.runtimes.kubernetes import queue
from xcore.runtimes.kubernetes.queue import KeyQueue


@contextlib.asynccontextmanager
async def working(look):
    keys = KeyQueue(look)
    running = asyncio.create_task(keys.run())
    try:
        yield keys
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_key_added_many_times_is_looked_at_once():
    seen = []

    async def look(key):
        seen.append(key)

    async with working(look) as keys:
        for _ in range(5):
            keys.add("a")
        keys.add("b")
        await until(lambda: len(seen) == 2)
        await asyncio.sleep(0)
        assert sorted(seen) == ["a", "b"]


async def test_a_key_is_never_looked_at_twice_at_once_and_what_came_meanwhile_is_not_lost():
    under_way, most, seen = 0, 0, 0
    go = asyncio.Event()

    async def look(key):
        nonlocal under_way, most, seen
        under_way, seen = under_way + 1, seen + 1
        most = max(most, under_way)
        await go.wait()
        under_way -= 1

    async with working(look) as keys:
        keys.add("a")
        await until(lambda: under_way)
        for _ in range(3):
            keys.add("a")
        go.set()
        await until(lambda: seen == 2)
        await until(lambda: not under_way)
        assert (most, seen) == (1, 2)


async def test_a_failure_is_tried_again_and_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(queue, "FIRST_PAUSE", 0.01)
    seen = []

    async def look(key):
        seen.append(key)
        if key == "bad" and seen.count("bad") < 3:
            raise RuntimeUnavailable("away")

    async with working(look) as keys:
        keys.add("bad")
        keys.add("good")
        await until(lambda: seen.count("bad") == 3)
        assert seen.count("good") == 1


async def test_an_error_nobody_foresaw_ends_the_look_at_one_key_alone(monkeypatch, caplog):
    """It is logged with where it happened, and tried again; the others are looked at as ever."""
    monkeypatch.setattr(queue, "FIRST_PAUSE", 0.01)
    seen = []

    async def look(key):
        seen.append(key)
        if key == "odd" and seen.count("odd") < 3:
            raise KeyError("value")

    async with working(look) as keys:
        keys.add("odd")
        await until(lambda: seen.count("odd") == 3)
        keys.add("good")
        await until(lambda: seen.count("good") == 1)
    assert "KeyError" in caplog.text


async def test_a_key_that_goes_on_failing_is_counted_until_it_does_not(monkeypatch):
    """The first few times are a hiccup."""
    monkeypatch.setattr(queue, "FIRST_PAUSE", 0.001)
    counts, away = [], True

    async def look(key):
        counts.append(keys.failing)
        if away:
            raise RuntimeUnavailable("away")

    async with working(look) as keys:
        keys.add("bad")
        await until(lambda: keys.failing == 1)
        assert counts[: queue.SEVERAL] == [0] * queue.SEVERAL
        away = False
        await until(lambda: keys.failing == 0)


async def test_who_wants_to_be_called_again_is():
    seen = []

    async def look(key):
        seen.append(key)
        return 0.01 if len(seen) < 3 else None

    async with working(look) as keys:
        keys.add("a")
        await until(lambda: len(seen) == 3)
