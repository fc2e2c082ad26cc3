"""Actions that yield: how items travel, how a stream ends, and what becomes of a generator whose client leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest

from xcore.plugin import Plugin, action, stream
from xcore.plugin.contract import Context
from xcore.plugin.host import Host
from xcore.plugin.testing import Cut, serve

EVENTS = {"accept": "text/event-stream"}


@dataclass
class Point:
    x: int


class Streams(Plugin):
    @action(safe=True)
    async def count(self, to: int = 3) -> AsyncIterator[int]:
        """Count."""
        for number in range(to):
            yield number

    @action
    def sync(self, to: int = 3) -> Iterator[Point]:
        assert threading.current_thread() is not threading.main_thread()
        for number in range(to):
            yield Point(number)

    @action
    async def raw(self) -> AsyncGenerator[bytes, None]:
        yield b"ab"
        yield b""
        yield bytearray(b"\ncd")  # type: ignore[misc]

    @action
    def fails(self, at: int, how: str = "raise") -> Generator[int, None, None]:
        yield from range(at)
        if how == "exit":
            raise SystemExit(3)
        if how == "wrong":
            yield "text"  # type: ignore[misc]
        raise LookupError("a mistake")

    @action
    async def afails(self, at: int, how: str = "raise") -> AsyncIterator[Annotated[int, msgspec.Meta(lt=5)]]:
        for number in range(at):
            yield number
        if how == "exit":
            raise SystemExit(3)
        if how == "wrong":
            yield 7
        if how == "cancel":
            raise asyncio.CancelledError
        raise LookupError("a mistake")

    @action
    async def rawfails(self) -> AsyncIterator[bytes]:
        yield b"ab"
        yield "text"  # type: ignore[misc]

    @action
    async def anything(self):  # type: ignore[no-untyped-def]
        yield {"a": 1}
        yield None
        yield "two\nlines"


async def test_items_are_json_lines():
    """One a line, whatever they hold; that is what a client gets that asks for nothing."""
    async with serve(Streams) as client:
        assert await client.call("count", to=4) == (200, [0, 1, 2, 3])
        assert client.headers == {
            "content-type": "application/x-ndjson",
            "cache-control": "no-store",
            "vary": "accept",
        }
        assert await client.call("sync") == (200, [{"x": 0}, {"x": 1}, {"x": 2}])
        assert await client.call("anything") == (200, [{"a": 1}, None, "two\nlines"])
        assert await client.call("count", to=0) == (200, [])


async def test_items_are_events_for_a_client_that_wants_them():
    """An event an item, then `end`; by GET where the action is safe, as EventSource does."""
    async with serve(Streams) as client:
        status, body = await client.request("GET", "count", query="to=2", headers=EVENTS)
        assert (status, body) == (200, b"data: 0\n\ndata: 1\n\nevent: end\ndata: {}\n\n")
        assert client.headers["content-type"] == "text/event-stream"
        _, body = await client.request("POST", "anything", headers=EVENTS)
        assert body == b'data: {"a":1}\n\ndata: null\n\ndata: "two\\nlines"\n\nevent: end\ndata: {}\n\n'
        assert await client.request("POST", "count", body=b'{"to":0}', headers=EVENTS) == (
            200,
            b"event: end\ndata: {}\n\n",
        )


async def test_bytes_are_a_body_as_they_are():
    """Whatever the client accepts."""
    async with serve(Streams) as client:
        assert await client.request("POST", "raw", headers=EVENTS) == (200, b"ab\ncd")
        assert client.headers == {"content-type": "application/octet-stream"}


async def test_head_runs_nothing():
    """The head alone."""
    asked = []

    class Safe(Plugin):
        @action(safe=True)
        async def x(self) -> AsyncIterator[int]:
            asked.append(1)
            yield 1

    async with serve(Safe) as client:
        assert (await client.request("HEAD", "x")).status == 200
    assert asked == []


@pytest.mark.parametrize("name", ["fails", "afails"])
@pytest.mark.parametrize("how", ["raise", "exit", "wrong"])
async def test_a_failure_before_the_first_item_is_an_ordinary_one(name, how):
    """500 with a problem; so is a first item that its annotation does not allow."""
    async with serve(Streams) as client:
        status, problem = await client.call(name, at=0, how=how)
        assert (status, problem["reason"]) == (500, "ActionFailed")
        status, problem = await client.call(name, nothing=1)
        assert (status, problem["reason"]) == (422, "InvalidArguments")


@pytest.mark.parametrize("name", ["fails", "afails"])
@pytest.mark.parametrize("how", ["raise", "exit", "wrong"])
async def test_a_failure_midway_is_the_last_line_and_cuts_the_answer(name, how, caplog):
    """The problem is told under `error`, its traceback is in the log, and the body is left unfinished."""
    async with serve(Streams) as client:
        with pytest.raises(Cut) as cut:
            await client.call(name, at=2, how=how)
    first, second, last = cut.value.reply.body
    assert (first, second, last["error"]["reason"]) == (0, 1, "ActionFailed")
    assert last["error"]["detail"].startswith(f"the action {name} ")
    assert len(caplog.records) == 1


async def test_a_failure_midway_is_an_event_and_cuts_the_answer():
    """`error`, with the problem as its data, and no `end`."""
    async with serve(Streams) as client:
        arguments = b'{"at":1,"how":"cancel"}'
        with pytest.raises(Cut) as cut:
            await client.request("POST", "afails", body=arguments, headers={**EVENTS, "x-request-id": "r1"})
        body = cut.value.reply.body
        start = b'data: 0\n\nevent: error\ndata: {"type":"about:blank",'
        assert body.startswith(start)
        assert body.endswith(b'"requestId":"r1"}\n\n')
        with pytest.raises(Cut) as cut:
            await client.call("rawfails")
        assert cut.value.reply.body == b"ab"


async def test_a_stream_is_described_by_one_item():
    """`stream` tells, and the result is the schema of an item."""
    async with serve(Streams) as client:
        described = {one["name"]: one for one in (await client.get("")).body["actions"]}
    assert described["count"]["stream"] is True
    assert described["count"]["result"] == {"type": "integer"}
    assert described["sync"]["result"]["$ref"] == "#/$defs/Point"
    assert "result" not in described["raw"]
    assert described["count"]["description"] == "Count."


class Endless(Plugin):
    def __init__(self) -> None:
        self.yielded = 0
        self.closed = asyncio.Event()
        self.inside, self.go = threading.Event(), threading.Event()

    @action
    async def busy(self) -> AsyncIterator[int]:
        """Never waits for anything."""
        try:
            while True:
                self.yielded += 1
                yield self.yielded
        finally:
            await asyncio.sleep(0)
            self.closed.set()

    @action
    async def waiting(self) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            self.closed.set()

    @action
    async def stubborn(self) -> AsyncIterator[int]:
        try:
            while True:
                try:
                    yield 1
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    yield 2
        finally:
            self.closed.set()

    @action
    def sync(self) -> Iterator[int]:
        loop_closed = self.closed
        try:
            yield 1
            self.inside.set()
            self.go.wait(10)
            while True:
                yield 2
        finally:
            self.context.config["loop"].call_soon_threadsafe(loop_closed.set)

    @action
    async def refuses_to_close(self) -> AsyncIterator[int]:
        while True:
            try:
                yield 1
            except GeneratorExit:
                yield 2


@pytest.fixture
async def endless():
    async with serve(Endless, config={"loop": asyncio.get_running_loop()}) as client:
        yield client


@pytest.mark.parametrize("name", ["busy", "waiting", "stubborn"])
async def test_a_client_that_leaves_stops_the_generator(endless, name):
    """Its `finally` has run when the call is over: whether it waits, never waits, or will not hear of it."""
    async with endless.stream(name) as items:
        assert await anext(items) == 1
    assert endless.host.hosted.plugin.closed.is_set()


async def test_a_slow_client_pauses_the_generator(endless):
    """It is not asked for what nobody has room for."""
    plugin = endless.host.hosted.plugin
    async with endless.stream("busy") as items:
        assert await anext(items) == 1
        for _ in range(100):
            await asyncio.sleep(0)
        assert plugin.yielded <= 4


async def test_a_generator_in_a_thread_stops_when_its_thread_comes_back(endless):
    """A thread cannot be interrupted; nothing runs behind the item it was at but its `finally`."""
    plugin = endless.host.hosted.plugin
    async with endless.stream("sync") as items:
        assert await anext(items) == 1
        await asyncio.to_thread(plugin.inside.wait)
    assert not plugin.closed.is_set()
    plugin.go.set()
    async with asyncio.timeout(10):
        await plugin.closed.wait()


async def test_a_generator_in_a_thread_stops_between_two_items(endless):
    """Its `finally` runs in a thread, too."""
    plugin = endless.host.hosted.plugin
    plugin.go.set()
    async with endless.stream("sync") as items:
        assert [await anext(items), await anext(items)] == [1, 2]
    async with asyncio.timeout(10):
        await plugin.closed.wait()


async def test_a_generator_that_does_not_close_is_told_of(endless, caplog):
    """In the log; the call is over all the same."""
    async with endless.stream("refuses_to_close") as items:
        assert await anext(items) == 1
    assert caplog.records[-1].getMessage() == "a stream does not close"


async def test_a_generator_stuck_in_its_thread_makes_live_fail_only_after_its_client_left(monkeypatch):
    """While somebody waits, silence is what idleSeconds is about; afterwards the thread has some time, and no more."""
    monkeypatch.setattr(stream, "LEFT_SECONDS", -20.0)
    async with serve(Endless, config={"loop": asyncio.get_running_loop()}) as client:
        plugin = client.host.hosted.plugin
        async with client.stream("sync") as items:
            await anext(items)
            await asyncio.to_thread(plugin.inside.wait)
            assert (await client.fetch("/live")).status == 200
        assert (await client.fetch("/live")).status == 503
        plugin.go.set()
        await plugin.closed.wait()
        while (await client.fetch("/live")).status != 200:
            await asyncio.sleep(0)


async def test_a_client_that_left_before_the_head_is_sent_stops_the_generator():
    """Nothing of it is left open, whatever the sending raises."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(_: Any) -> None:
        raise OSError("gone")

    host = Host(Endless, Context("p"))
    await host.start()
    scope = {"type": "http", "method": "POST", "path": "/app/p/waiting", "query_string": b"", "headers": []}
    with pytest.raises(OSError, match="gone"):
        await host(scope, receive, send)
    assert host.hosted.plugin.closed.is_set()
    await host.stop()
