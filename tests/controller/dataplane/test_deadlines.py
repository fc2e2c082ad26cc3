"""Every request ends: by its deadlines, or when its client leaves."""

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from controller.dataplane import ending
from tests.controller.dataplane.support import Front, canned, ok, request
from tests.support import until

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def times(**timeouts):
    return {"actions": [{"name": "greet", "timeouts": timeouts}]}


async def silent(visit, upstream):
    upstream.journal.append(await visit.request())
    await visit.reader.read()


async def test_a_plugin_that_does_not_answer_is_504(front):
    """No first byte in time: FirstByteTimeout, and the plugin's connection is dropped."""
    upstream = await front.upstream(silent, **times(firstByteSeconds=0.2))
    answer = await front.ask(request())
    assert (answer.status, answer["xcore-reason"]) == (504, "FirstByteTimeout")
    await until(lambda: upstream.open == 0)


async def test_the_time_to_the_first_byte_counts_from_the_end_of_the_body(front):
    """A client that uploads slowly does not use up its plugin's time."""
    upstream = await front.upstream(**times(firstByteSeconds=0.3, idleSeconds=30))
    client = await front.client()
    client.send(request("POST", "/app/hello/greet", "Content-Length: 5"))
    for byte in b"12345":
        await asyncio.sleep(0.15)
        client.send(bytes([byte]))
    assert (await client.answer()).status == 200
    assert len(upstream.journal) == 1


async def test_an_answer_that_falls_silent_is_cut(front):
    """Silence in the middle of an answer: the connection is cut, for the answer is not whole."""

    async def script(visit, upstream):
        await visit.request()
        visit.send(CHUNKED + b"3\r\nabc\r\n")
        await visit.reader.read()

    upstream = await front.upstream(script, **times(idleSeconds=0.2))
    client = await front.client()
    client.send(request())
    rest = await client.rest()
    assert rest.endswith(b"3\r\nabc\r\n")
    await until(lambda: upstream.open == 0)


async def test_a_client_that_falls_silent_in_its_body_is_told(front):
    """A body that stops coming: IdleTimeout, and the plugin's connection is dropped."""
    upstream = await front.upstream(**times(idleSeconds=0.2))
    client = await front.client()
    answer = await client.ask(request("POST", "/app/hello/greet", "Content-Length: 5") + b"12")
    assert (answer.status, answer["xcore-reason"], answer["connection"]) == (504, "IdleTimeout", "close")
    await until(lambda: upstream.open == 0)


async def test_a_plugin_that_drips_is_cut_at_the_total_deadline(front):
    """A byte now and then does not hold a request for ever."""

    async def script(visit, upstream):
        await visit.request()
        visit.send(CHUNKED)
        while True:
            visit.send(b"1\r\nx\r\n")
            await visit.writer.drain()
            await asyncio.sleep(0.02)

    upstream = await front.upstream(script, **times(idleSeconds=10, maxDurationSeconds=0.5))
    client = await front.client()
    client.send(request())
    assert not (await client.rest()).endswith(b"0\r\n\r\n")
    await until(lambda: upstream.open == 0)


@pytest.mark.parametrize("drip", [b"HTTP/1.1 102 Processing\r\n\r\n", b"H"])
async def test_a_head_that_never_comes_is_504(front, drip):
    """Neither interim answers nor single bytes are a beginning."""

    async def script(visit, upstream):
        await visit.request()
        visit.send(drip)
        await visit.reader.read()

    await front.upstream(script, **times(firstByteSeconds=0.2))
    assert (await front.ask(request()))["xcore-reason"] == "FirstByteTimeout"


async def test_the_total_deadline_before_any_answer_is_504(front):
    """DurationExceeded counts everything, waiting in the queue too."""
    await front.upstream(silent, **times(maxDurationSeconds=0.3))
    answer = await front.ask(request())
    assert (answer.status, answer["xcore-reason"]) == (504, "DurationExceeded")


async def test_a_client_that_reads_after_a_pause_longer_than_the_idle_time_gets_its_answer(front):
    """The time a client does not read is not the plugin's silence."""

    def paused():
        return any(exchange._client.write_paused for exchange in front.plane.active)

    async def script(visit, upstream):
        await visit.request()
        visit.send(CHUNKED)
        while not paused():
            visit.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await asyncio.sleep(0.002)  # all of it is with us when the client stops reading
        await upstream.resumed.wait()
        await asyncio.sleep(0.25)  # still within the idle time, counted from when the client reads on
        visit.send(b"1\r\ny\r\n0\r\n\r\n")
        await visit.reader.read()

    upstream = await front.upstream(script, **times(idleSeconds=0.4))
    upstream.resumed = asyncio.Event()
    client = await front.client()
    client.writer.transport.pause_reading()
    client.send(request())
    await until(paused)
    (exchange,) = front.plane.active
    await until(lambda: front.plane.clock() - exchange._last > 0.8)
    client.writer.transport.resume_reading()
    upstream.resumed.set()
    assert (await client.answer()).body[-1:] == b"y"


# -- clients that leave -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
@pytest.mark.parametrize("when", ["waiting", "streaming", "uploading"])
async def test_a_client_that_leaves_cancels_its_plugins_work(front, how, when):
    """Within a second the plugin sees its caller go, and nothing is held any longer."""

    async def script(visit, upstream):
        await visit.reader.readuntil(b"\r\n\r\n")
        upstream.journal.append(None)
        if when == "streaming":
            visit.send(CHUNKED + b"3\r\nabc\r\n")
        await visit.reader.read()
        upstream.left.set()

    upstream = await front.upstream(script)
    upstream.left = asyncio.Event()
    client = await front.client()
    client.send(
        request("POST", "/app/hello/greet", "Content-Length: 5") if when == "uploading" else request()
    )
    await until(lambda: upstream.journal)
    if when == "streaming":
        await client.reader.readuntil(b"abc")
    if how == "reset":
        client.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    if how == "half-close":
        client.writer.write_eof()
    else:
        client.leave()
    async with asyncio.timeout(1):
        await upstream.left.wait()
    await until(lambda: not front.plane.active)
    assert front.plane.counters["hello"].by_status == {499: 1}


async def test_a_client_that_leaves_when_its_whole_body_is_here_is_noticed_though_its_plugin_reads_nothing(
    front,
):
    """A plugin that does not read does not keep us from hearing that the caller is gone."""

    async def script(visit, upstream):
        visit.writer.transport.pause_reading()
        upstream.journal.append(None)
        await upstream.never.wait()

    upstream = await front.upstream(script)
    upstream.never = asyncio.Event()
    client = await front.client()
    client.send(request("POST", body=b"x" * 450_000))
    await until(lambda: front.plane.active and next(iter(front.plane.active)).request.complete)
    client.leave()
    async with asyncio.timeout(1):
        await until(lambda: not front.plane.active)


async def test_a_large_early_answer_is_not_cut_while_its_client_reads_it(front, monkeypatch):
    """Lingering for a client that still sends does not cost it an answer it is reading."""
    monkeypatch.setattr(ending, "LINGER_SECONDS", 0.1)
    size = 16 * 2**20

    async def script(visit, upstream):
        await visit.reader.readuntil(b"\r\n\r\n")
        visit.send(ok(b"x" * size))
        await visit.reader.read()

    await front.upstream(script)
    client = await front.client()
    client.writer.transport.pause_reading()
    client.send(request("POST", "/app/hello/greet", "Content-Length: 9"))
    await until(lambda: front.plane.active and next(iter(front.plane.active))._client.write_paused)
    reading = asyncio.create_task(client.answer())
    for _ in range(8):
        client.writer.transport.resume_reading()
        await asyncio.sleep(0.005)
        client.writer.transport.pause_reading()
        await asyncio.sleep(0.1)
    client.writer.transport.resume_reading()
    assert len((await reading).body) == size


async def test_a_client_that_leaves_while_waiting_leaves_no_place_taken(front):
    """Queued and held requests go with their clients."""
    front.put(None, hold=True, traffic={"maxConcurrentRequests": 1, "queue": {"maxLength": 5}})
    clients = [await front.client() for _ in range(3)]
    for client in clients:
        client.send(request())
    way = front.plane.ways["hello"]
    await until(lambda: (way.bulkhead.active, way.bulkhead.waiting) == (1, 2))
    for client in clients[::-1]:
        client.leave()
    await until(lambda: (way.bulkhead.active, way.bulkhead.waiting, len(way.held)) == (0, 0, 0))


async def test_500_clients_that_leave_leave_nothing(front):
    """No exchange, connection, task or descriptor stays behind."""

    async def script(visit, upstream):
        await visit.reader.readuntil(b"\r\n\r\n")
        upstream.journal.append(None)
        await visit.reader.read()

    upstream = await front.upstream(
        script, traffic={"maxConcurrentRequests": 300, "queue": {"maxLength": 300}}
    )
    await front.ask(request("GET", "/api"))
    await until(lambda: front.connections == 0 or front.connections == 1)
    before = len(asyncio.all_tasks()), descriptors(), front.connections
    clients = await asyncio.gather(*[front.client() for _ in range(500)])
    for client in clients:
        client.send(request())
    await until(lambda: len(upstream.journal) == 300)
    await until(lambda: front.plane.ways["hello"].bulkhead.waiting == 200)
    for client in clients:
        client.leave()
    async with asyncio.timeout(5):
        (pool,) = front.plane.pools
        await until(lambda: not (front.plane.active or pool.busy) and upstream.open == pool.idle)
        pool.reap(
            front.plane.clock() + 31
        )  # those that were being made for somebody who had left are kept a while
        await until(lambda: front.connections <= before[2])
        await until(lambda: len(asyncio.all_tasks()) <= before[0])
        await until(lambda: descriptors() <= before[1])


async def test_an_idle_connection_is_closed_after_the_keep_alive_time():
    """A client that asks nothing more is let go, counted from its last answer."""

    async with Front(keep_alive=0.3) as front:
        await front.upstream()
        client = await front.client()
        for _ in range(3):
            await client.ask(request())
            await asyncio.sleep(0.2)  # longer in all than the keep-alive time, each time shorter
        assert await client.rest() == b""


async def test_idle_connections_to_a_plugin_are_closed_in_time(front):
    """A plugin's idle connection is given up before the plugin would."""
    upstream = await front.upstream(canned(ok()))
    await front.ask(request())
    (pool,) = front.plane.pools
    assert pool.idle == 1
    pool.reap(front.plane.clock() + 31)
    await until(lambda: upstream.open == 0)
    assert (await front.ask(request())).status == 200
