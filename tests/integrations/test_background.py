"""Background work ends before the requests do: told first, given its time, then cut short."""

import asyncio
import logging

import anyio
import pytest

from integrations.background import Background


async def test_work_that_is_told_to_end_may_finish_what_it_does():
    background, done = Background(), []

    async def work():
        await background.stopping.wait()
        await asyncio.sleep(0)
        done.append("finished")

    background.spawn("work", work())
    await background.stop(5)
    assert done == ["finished"]


async def test_work_that_does_not_end_is_cancelled_when_its_time_is_over_and_may_note_it(caplog):
    background, noted = Background(), []

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            noted.append("interrupted")

    background.spawn("endless", endless())
    await asyncio.sleep(0)
    with caplog.at_level(logging.INFO):
        await background.stop(0.01)
    assert noted == ["interrupted"]
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == ["told to end, within 0.01 s: endless", "cut short: endless"]


async def test_whoever_is_in_a_hurry_cuts_the_waiting_short():
    """A second signal: nobody waits for work that was given time."""
    background, noted = Background(), []

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            noted.append("interrupted")

    background.spawn("endless", endless())
    stopping = asyncio.create_task(background.stop(3600))
    await asyncio.wait({stopping}, timeout=0.01)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await asyncio.sleep(0)
    assert noted == ["interrupted"]


async def test_work_that_raises_is_named_and_nothing_else_ends_by_it(caplog):
    background = Background()

    async def raising():
        raise ValueError("out of order")

    async def good():
        await background.stopping.wait()

    failing = background.spawn("bad", raising())
    other = background.spawn("good", good())
    await asyncio.wait({failing})
    await asyncio.sleep(0)
    assert background.failed == {"bad"}
    assert not other.done()
    assert "bad has failed and ended" in caplog.text
    assert "out of order" in caplog.text
    await background.stop(5)


async def test_an_answer_without_an_end_ends_with_the_controller_and_leaves_nothing():
    background, closed = Background(), []

    async def endless():
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    heard = []
    ending = None
    async for item in background.lasting(endless(), "key"):
        heard.append(item)
        ending = asyncio.create_task(background.stop(5))
    await ending
    assert (heard, closed) == (["one"], ["closed"])


async def test_a_client_that_leaves_leaves_nothing_behind():
    """Its server cancels whatever is awaited for it, the cleaning up as well."""
    background, closed = Background(), asyncio.Event()

    async def endless():
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.set()

    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(0.01, scope.cancel)
        async for _ in background.lasting(endless(), "key"):
            pass
    async with asyncio.timeout(5):
        await closed.wait()
        while background._closing:
            await asyncio.sleep(0)


async def test_an_answer_that_is_asked_for_at_the_very_end_ends_at_once():
    background = Background()
    await background.stop(5)

    async def endless():
        await asyncio.Event().wait()
        yield "never"

    assert [item async for item in background.lasting(endless(), "key")] == []


async def test_an_answer_ends_with_the_key_it_was_asked_for_with_and_others_go_on():
    background, gone_on = Background(), asyncio.Event()

    async def items():
        yield "one"
        await gone_on.wait()
        yield "two"

    heard = {"good": [], "revoked": []}

    async def listen(key):
        async for item in background.lasting(items(), key):
            heard[key].append(item)

    listening = [asyncio.create_task(listen(key)) for key in heard]
    await asyncio.wait(listening, timeout=0.01)
    background.cut(frozenset({"revoked", "unknown"}))
    await asyncio.wait(listening[1:], timeout=5)
    gone_on.set()
    await asyncio.wait(listening, timeout=5)
    assert heard == {"good": ["one", "two"], "revoked": ["one"]}
    assert background._streams == {}


@pytest.mark.parametrize("how", ["ends", "raises", "is left"])
async def test_an_answer_that_ends_by_itself_is_what_it_would_have_been(how):
    background, closed = Background(), []

    async def items():
        try:
            yield "one"
            if how == "raises":
                raise ValueError("cut")
            if how == "is left":
                await asyncio.Event().wait()
        finally:
            closed.append("closed")

    told = background.lasting(items(), "key")
    assert await anext(told) == "one"
    if how == "raises":
        with pytest.raises(ValueError, match="cut"):
            await anext(told)
    elif how == "ends":
        assert [item async for item in told] == []
    else:
        waiting = asyncio.create_task(anext(told))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert closed == ["closed"]
