"""Time as an argument: the real clock and the one that is moved by hand keep the same promises."""

import asyncio
import time

import pytest

from xcore.clock import SystemClock, sleep
from xcore.testing import FakeClock


@pytest.fixture(params=[SystemClock, FakeClock])
def clock(request):
    return request.param()


async def test_a_wait_ends_with_its_event(clock):
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, 100))
    forever = asyncio.create_task(clock.wait(event, None))
    await asyncio.sleep(0)
    event.set()
    assert await waiting
    assert await forever
    assert await clock.wait(event, 0)


async def test_a_wait_for_no_time_ends_at_once(clock):
    assert not await clock.wait(asyncio.Event(), 0)
    assert not await clock.wait(asyncio.Event(), -1)


async def test_a_wait_that_is_cancelled_is_cancelled(clock):
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), 100))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_real_clock_gives_up_in_time_and_never_goes_back(monkeypatch):
    clock = SystemClock()
    assert clock.time() == pytest.approx(time.time(), abs=1)
    assert not await clock.wait(asyncio.Event(), 0.001)
    before = clock.time()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.time() >= before


async def test_the_fake_clock_wakes_each_wait_at_its_moment_and_in_order():
    clock, woken = FakeClock(0.0), []

    async def wake(name, *delays):
        for delay in delays:
            await sleep(clock, delay)
            woken.append((name, clock.time()))

    tasks = [asyncio.create_task(wake("a", 3, 1)), asyncio.create_task(wake("b", 2, 1.5))]
    await clock.advance(3.2)
    assert woken == [("b", 2.0), ("a", 3.0)]
    await clock.advance(10)
    assert woken[2:] == [("b", 3.5), ("a", 4.0)]
    assert clock.time() == 13.2
    await asyncio.gather(*tasks)


async def test_waiting_for_what_never_comes_about_fails():
    with pytest.raises(AssertionError, match="within 5 s"):
        await FakeClock().until(lambda: False, seconds=5)
