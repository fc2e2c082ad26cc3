"""A blocking stream as an async iterator: bounded, and closed whenever it is left."""

import asyncio
import queue
import threading
from contextlib import aclosing

import pytest

from xcore.runtimes.threaded import QUEUE, follow


class Broken(Exception):
    pass


class Stream:
    """Gives what is put into it; `close` ends a read in another thread."""

    def __init__(self, *items):
        self.items = queue.SimpleQueue()
        self.closed = threading.Event()
        self.taken = 0
        for item in items:
            self.items.put(item)

    def __iter__(self):
        while True:
            item = self.items.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                return
            self.taken += 1
            yield item

    def close(self):
        self.closed.set()
        self.items.put(OSError("closed under its reader"))


async def ended(count):
    """Wait until the threads of the streams are gone."""
    while sum(thread.name == "stream" for thread in threading.enumerate()) > count:
        await asyncio.sleep(0)


async def test_it_gives_what_the_stream_gives_and_ends_with_it():
    stream = Stream(1, 2, 3, None)
    async with aclosing(follow(lambda: stream, ())) as items:
        assert [item async for item in items] == [1, 2, 3]
    assert stream.closed.is_set()
    await ended(0)


@pytest.mark.parametrize("when", ["opening", "reading"])
async def test_an_error_that_was_named_ends_it_quietly(when):
    def source():
        if when == "opening":
            raise Broken
        return Stream(1, Broken())

    async with aclosing(follow(source, (Broken,))) as items:
        assert [item async for item in items] == ([] if when == "opening" else [1])
    await ended(0)


async def test_leaving_closes_the_stream_and_ends_its_thread():
    stream = Stream(1)
    async with aclosing(follow(lambda: stream, ())) as items:
        assert await anext(items) == 1
    assert stream.closed.is_set()
    await ended(0)


async def test_leaving_while_the_stream_is_being_opened_closes_it_all_the_same():
    opened, go_on, stream = threading.Event(), threading.Event(), Stream()

    def source():
        opened.set()
        go_on.wait(10)
        return stream

    items = follow(source, ())
    reading = asyncio.ensure_future(anext(items))
    while not opened.is_set():
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    go_on.set()
    await ended(0)
    assert stream.closed.is_set()


async def test_a_reader_that_does_not_keep_up_slows_the_stream_down():
    stream = Stream(*range(QUEUE * 3))
    async with aclosing(follow(lambda: stream, ())) as items:
        assert await anext(items) == 0
        while stream.taken < QUEUE:
            await asyncio.sleep(0)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert stream.taken <= QUEUE + 2
    await ended(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_an_error_that_nobody_named_is_loud():
    heard = []
    before, threading.excepthook = threading.excepthook, lambda args: heard.append(args.exc_type)
    try:
        async with aclosing(follow(lambda: Stream(ZeroDivisionError()), ())) as items:
            assert [item async for item in items] == []
        await ended(0)
    finally:
        threading.excepthook = before
    assert heard == [ZeroDivisionError]
