"""Apart: what goes on on the other loop holds up nobody here, and what is asked across is answered in time or refused."""

import asyncio
import contextlib
import threading

import pytest

from integrations import apart as module
from integrations.apart import MAX_UNTAKEN, Apart, Busy, Ended, Late
from integrations.background import Background
from integrations.host import AskedFor
from xcore.errors import PluginNotFound, XcoreError


@pytest.fixture
def background():
    return Background()


@pytest.fixture
async def apart(background):
    """One whose life lasts until the test is over."""
    made, over = Apart("integration one", background), asyncio.Event()

    async def life():
        await over.wait()

    ended = made.run(life())
    yield made
    made.there(over.set)
    async with asyncio.timeout(10):
        await asyncio.wait({ended})


@pytest.fixture
def let_go():
    """Whoever blocks does so until a test is over."""
    event = threading.Event()
    yield event
    event.set()


async def nothing():
    pass


async def thread():
    return threading.current_thread().name


async def test_what_is_ordered_is_done_on_a_thread_of_that_name_and_its_outcome_comes_back(apart):
    async def fail():
        raise ValueError("no")

    assert await apart.do(5, thread) == "integration one"
    with pytest.raises(ValueError, match="no"):
        await apart.do(5, fail)


async def test_an_order_that_takes_too_long_is_cancelled_there_and_so_is_one_that_nobody_waits_for(apart):
    cancelled = threading.Semaphore(0)

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.release()

    with pytest.raises(Late, match=r"integration one did not answer within 0\.05 s"):
        await apart.do(0.05, endless)
    waiting = asyncio.create_task(apart.do(60, endless))
    await apart.do(5, nothing)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for _ in range(2):
        assert await asyncio.to_thread(cancelled.acquire, timeout=5)


async def test_a_thread_that_blocks_is_given_so_many_orders_and_takes_new_ones_when_it_is_back(apart, let_go):
    apart.there(let_go.wait)
    for _ in range(MAX_UNTAKEN):
        with pytest.raises(Late):
            await apart.do(0, nothing)
    with pytest.raises(Busy, match="32 requests wait for it already"):
        await apart.do(0, nothing)
    let_go.set()
    async with asyncio.timeout(5):
        while apart._untaken:
            await asyncio.sleep(0)
    assert await apart.do(5, thread) == "integration one"


async def test_a_thread_that_blocks_is_told_of_until_it_goes_on_and_the_log_says_where_it_stands(
    apart, background, let_go, monkeypatch, caplog
):
    monkeypatch.setattr(module, "BLOCKED_SECONDS", 0.05)
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    watching = asyncio.create_task(apart.watch())

    def block_here():
        let_go.wait()

    apart.there(block_here)
    async with asyncio.timeout(5):
        while background.blocked != {"integration one"}:
            await asyncio.sleep(0)
        let_go.set()
        while background.blocked:
            await asyncio.sleep(0)
    watching.cancel()
    assert "integration one has been blocked for 0.05 s, in:" in caplog.text
    assert "block_here" in caplog.text
    assert "integration one goes on" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, ValueError])
async def test_what_ends_the_thread_is_told_here_and_ends_nothing_else(background, error):
    made = Apart("integration one", background)

    async def life():
        await asyncio.sleep(0)
        raise error("over")

    ended = made.run(life())
    await asyncio.wait({ended}, timeout=5)
    assert isinstance(ended.exception(), error)
    with pytest.raises(Ended, match="integration one has ended"):
        await made.do(5, nothing)


async def test_an_order_that_would_end_the_process_ends_the_thread_alone(background):
    made = Apart("integration one", background)

    async def leave():
        raise SystemExit(3)

    ended = made.run(asyncio.Event().wait())
    with pytest.raises(Ended, match="integration one ended before it answered"):
        await made.do(5, leave)
    await asyncio.wait({ended}, timeout=5)
    assert isinstance(ended.exception(), SystemExit)


class Plugins:
    def names(self):
        return [threading.current_thread().name]

    def get(self, name):
        raise PluginNotFound(f"there is no {name}")


async def test_plugins_are_asked_for_on_the_loop_that_knows_them_from_whatever_thread(apart):
    plugins, here = AskedFor(Plugins(), apart), threading.current_thread().name

    async def names():
        return plugins.names()

    async def get():
        return plugins.get("gone")

    assert [await apart.do(5, names), await asyncio.to_thread(plugins.names), plugins.names()] == [[here]] * 3
    with pytest.raises(PluginNotFound, match="there is no gone"):
        await apart.do(5, get)


async def test_whoever_asks_and_has_no_answer_in_time_is_told_so(apart, monkeypatch):
    monkeypatch.setattr(module, "ASK_SECONDS", 0.05)
    told = []

    def ask():
        with pytest.raises(XcoreError, match=r"integration one asked, and had no answer within 0\.05 s"):
            apart.ask(list)
        told.append(True)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(5)  # this loop stands still meanwhile
    assert told


async def test_background_work_is_told_to_end_and_waited_for(apart, background):
    done = []

    async def work():
        await apart.stopping.wait()
        await asyncio.sleep(0)
        done.append(threading.current_thread().name)

    async def begin():
        apart.spawn(work())

    await apart.do(5, begin)
    stopping = asyncio.create_task(background.stop(5))
    await asyncio.sleep(0)
    apart.there(apart.stopping.set)
    await stopping
    assert done == ["integration one"]


async def test_background_work_that_does_not_end_is_cancelled_and_may_note_it(apart, background, caplog):
    noted = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            noted.append("interrupted")

    async def begin():
        return apart.spawn(work())

    task = await apart.do(5, begin)
    await background.stop(0.05)
    assert (noted, task.cancelled()) == (["interrupted"], True)
    assert "cut short: integration one" in caplog.text


async def test_background_work_that_raises_is_named_and_what_is_cancelled_by_its_own_is_not(
    apart, background
):
    async def work():
        raise ValueError("out of order")

    async def begin():
        apart.spawn(asyncio.Event().wait()).cancel()
        await asyncio.wait({apart.spawn(work())})

    await apart.do(5, begin)
    async with asyncio.timeout(5):
        while not background.failed or background._tasks:
            await asyncio.sleep(0)
    assert background.failed == {"integration one"}


async def test_what_the_life_leaves_running_is_cancelled_when_it_is_over(background):
    made, cancelled, strays = Apart("integration one", background), threading.Event(), []

    async def stray():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        cancelled.set()

    async def life():
        strays.append(asyncio.create_task(stray()))
        await asyncio.sleep(0)

    await asyncio.wait({made.run(life())}, timeout=5)
    assert cancelled.is_set()
