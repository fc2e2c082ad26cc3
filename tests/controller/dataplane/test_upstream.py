"""A plugin that misbehaves harms its own answer, never the next client's."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from tests.controller.dataplane.support import Upstream, canned, ok, request
from tests.support import until

GOOD = ok(b"good")
BAD = {
    "two answers": ok(b"one") + ok(b"two"),
    "two answers without body": b"HTTP/1.1 204 No Content\r\n\r\n" * 2,
    "leftover bytes": ok(b"one") + b"leftover",
    "leftover newline": ok(b"one") + b"\r\nx",
    "more than its length": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcdef",
    "a 204 with a body": b"HTTP/1.1 204 No Content\r\n\r\nbody",
    "a 304 with a body": b"HTTP/1.1 304 Not Modified\r\n\r\nbody",
    "CL and TE": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "one length twice": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
    "a list of lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\nabc",
    "length +3": b"HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabc",
    "length -3": b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc",
    "an enormous length": b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nabc",
    "TE gzip": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
    "TE gzip, chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE twice": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a flood of interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 20 + GOOD,
    "an upgrade nobody asked for": b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    "a bare 101": b"HTTP/1.1 101 Switching\r\n\r\n" + GOOD,
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 3\n\nabc",
    "a folded field": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 3\r\n\r\nabc",
    "a bare CR": b"HTTP/1.1 200 OK\r\nx: a\rb: c\r\ncontent-length: 3\r\n\r\nabc",
    "a NUL": b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 3\r\n\r\nabc",
    "space before colon": b"HTTP/1.1 200 OK\r\ncontent-length : 3\r\n\r\nabc",
    "status 600": b"HTTP/1.1 600 X\r\ncontent-length: 3\r\n\r\nabc",
    "status 999": b"HTTP/1.1 999 X\r\ncontent-length: 3\r\n\r\nabc",
    "status 42": b"HTTP/1.1 42 X\r\ncontent-length: 3\r\n\r\nabc",
    "status 099": b"HTTP/1.1 099 X\r\ncontent-length: 3\r\n\r\nabc",
    "HTTP/1.9": b"HTTP/1.9 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    "no HTTP at all": b"hello\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a request": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n\r\n",
    "101 fields": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"\r\n",
    "100000 fields": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000 + b"\r\n",
    "a field of 10 MB": b"HTTP/1.1 200 OK\r\na: " + b"b" * 10_000_000 + b"\r\n\r\n",
    "70 KB of fields": b"HTTP/1.1 200 OK\r\n" + (b"a: " + b"b" * 1000 + b"\r\n") * 70 + b"\r\n",
}


@pytest.mark.parametrize("which", BAD)
async def test_an_invalid_answer_is_502_and_its_connection_is_not_used_again(front, which):
    """The caller learns that the plugin is at fault; the next caller gets the answer to its own request."""
    upstream = await front.upstream(canned(BAD[which]))
    client = await front.client()
    answer = await client.ask(request())
    assert (answer.status, answer["xcore-reason"]) == (502, "UpstreamInvalid")
    upstream.script = canned(GOOD)
    for _ in range(3):
        assert (await client.ask(request())).body == b"good"
    assert len(upstream.visits) == 2
    await until(lambda: upstream.open == 1)


async def test_leftovers_that_come_later_end_an_idle_connection(front):
    """Bytes nobody asked for, after the answer, reach nobody."""

    async def script(visit, upstream):
        await visit.request()
        visit.send(ok(b"one"))
        await upstream.go.wait()
        visit.send(ok(b"unasked"))
        await visit.reader.read()

    upstream = await front.upstream(script)
    upstream.go = asyncio.Event()
    client = await front.client()
    assert (await client.ask(request())).body == b"one"
    upstream.go.set()
    await until(lambda: upstream.open == 0)
    upstream.script = canned(GOOD)
    assert (await client.ask(request())).body == b"good"


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ],
)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_answer_that_breaks_off_is_cut_and_never_looks_whole(front, begun, how):
    """When a plugin dies in the middle of its answer, the client's connection breaks too."""

    async def script(visit, upstream):
        await visit.request()
        visit.send(begun)
        await upstream.go.wait()
        if how == "reset":
            visit.cut()

    upstream = await front.upstream(script)
    upstream.go = asyncio.Event()
    client = await front.client()
    client.send(request())
    assert await client.reader.readuntil(b"abc")
    upstream.go.set()
    rest = await client.rest()
    assert b"0\r\n\r\n" not in rest
    assert front.suspected == ["hello"]


async def test_a_bad_chunk_after_a_good_one_cuts_the_connection(front):
    """An answer that turns invalid on the way is cut, not patched."""

    async def script(visit, upstream):
        await visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await upstream.go.wait()
        visit.send(b"nonsense\r\n")
        await visit.reader.read()

    upstream = await front.upstream(script)
    upstream.go = asyncio.Event()
    client = await front.client()
    client.send(request())
    await client.reader.readuntil(b"abc")
    upstream.go.set()
    assert await client.rest() in {b"\r\n", b""}
    await until(lambda: upstream.open == 0)


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: ",
    ],
)
async def test_an_endless_extension_or_trailer_ends_the_answer(front, endless):
    """What the plugin sends without saying anything is not swallowed for ever."""

    async def script(visit, upstream):
        await visit.request()
        visit.send(endless)
        while True:
            visit.send(b"x" * 10_000)
            await visit.writer.drain()

    upstream = await front.upstream(script)
    client = await front.client()
    client.send(request())
    assert not (await client.rest()).endswith(b"0\r\n\r\n")
    await until(lambda: upstream.open == 0)


async def test_a_connection_that_is_to_close_is_not_reused(front):
    """`Connection: close` of a plugin is respected and not passed on."""
    upstream = await front.upstream(canned(ok(extra=b"connection: close\r\n")))
    client = await front.client()
    for _ in range(2):
        assert not (await client.ask(request())).all("connection")
    assert len(upstream.visits) == 2


async def test_a_connection_with_an_unread_body_in_it_is_not_reused(front):
    """An answer given before the body was read leaves the rest of it to nobody else's request."""

    async def hasty(visit, upstream):
        visit.writer.transport.pause_reading()
        await until(lambda: next(iter(front.plane.active)).request.sent)
        unsent.append(next(iter(front.plane.active))._upstream.transport.get_write_buffer_size())
        visit.send(ok(b"hasty"))
        await asyncio.Event().wait()

    unsent = []
    upstream = await front.upstream(hasty)
    client = await front.client()
    assert (await client.ask(request("POST", body=b"x" * 240_000))).body == b"hasty"
    assert unsent[0] > 0
    upstream.script = canned(GOOD)
    assert (await client.ask(request())).body == b"good"
    assert len(upstream.visits) == 2


async def test_two_plugins_never_share_a_connection(front):
    """Pools are per instance: another plugin, or the next instance, is never reached by mistake."""
    one = await front.upstream(canned(ok(b"one")), "one")
    two = await front.upstream(canned(ok(b"two")), "two")
    client = await front.client()
    for _ in range(3):
        assert (await client.ask(request("GET", "/app/one/x"))).body == b"one"
        assert (await client.ask(request("GET", "/app/two/x"))).body == b"two"
    replaced = await front.upstream(canned(ok(b"new")), "one")
    assert (await client.ask(request("GET", "/app/one/x"))).body == b"new"
    assert (len(one.visits), len(two.visits), len(replaced.visits)) == (1, 1, 1)
    await until(lambda: one.open == 0, what="the old instance's idle connection to be closed")


# -- S44, S45, R39: who answers ---------------------------------------------------------------------------------------


def heard(listener):
    """Whether a foreign socket was sent a byte by anybody who connected to it."""
    listener.settimeout(0.05)
    total = b""
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return total
        connection.settimeout(0.05)
        try:
            total += connection.recv(1000)
        except TimeoutError:
            pass
        finally:
            connection.close()


def plant_symlink(directory, foreign):
    (directory / "p.sock").symlink_to(foreign)


def plant_fifo(directory, foreign):
    os.mkfifo(directory / "p.sock")


def plant_directory(directory, foreign):
    (directory / "p.sock").mkdir()


def plant_file(directory, foreign):
    (directory / "p.sock").write_bytes(b"x")


@pytest.mark.parametrize("plant", [plant_symlink, plant_fifo, plant_directory, plant_file])
async def test_what_is_not_a_socket_is_never_opened(front, tmp_path, plant):
    """A sandbox that puts a link, a FIFO or a file where its socket should be is found out; nothing is sent."""
    upstream = await front.upstream(canned(ok(extra=b"connection: close\r\n")))
    assert (await front.ask(request())).status == 200
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "other.sock"))
        listener.listen()
        (upstream.directory / "p.sock").unlink()
        plant(upstream.directory, tmp_path / "other.sock")
        answer = await front.ask(request("POST", body=b"secret"))
        assert (answer.status, answer["xcore-reason"]) == (502, "UpstreamIdentity")
        assert heard(listener) == b""
    assert "hello" in front.suspected
    path = upstream.directory / "p.sock"
    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


async def test_another_process_behind_the_socket_is_refused(front):
    """The peer is asked for on every connection, and a process outside the sandbox gets not one byte."""
    upstream = await front.upstream(canned(ok(extra=b"connection: close\r\n")))
    asked = []
    upstream.belongs = lambda pid: asked.append(pid) or False
    answer = await front.ask(request())
    assert (answer.status, answer["xcore-reason"]) == (502, "UpstreamIdentity")
    assert asked == [os.getpid()]
    assert not upstream.journal
    upstream.belongs = lambda pid: True
    assert (await front.ask(request())).status == 200


async def test_a_socket_bound_anew_by_the_sandbox_is_served_after_another_look(front):
    """A plugin may replace its own socket: whoever listens is asked about again."""
    upstream = await front.upstream(canned(ok(extra=b"connection: close\r\n")))
    assert (await front.ask(request())).status == 200
    path = upstream.directory / "p.sock"
    path.unlink()
    code = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
        "print('up',flush=True)\n"
        "c,_=s.accept(); c.recv(9999); c.sendall(b'HTTP/1.1 200 OK\\r\\ncontent-length: 3\\r\\n\\r\\nnew')\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert await asyncio.to_thread(child.stdout.readline) == b"up\n"
        upstream.belongs = lambda pid: pid == child.pid
        assert (await front.ask(request())).body == b"new"
    finally:
        child.communicate()


async def test_a_stale_socket_is_held_for_and_never_mistaken(front):
    """A socket file nobody listens on is a plugin that is not there yet."""
    upstream = await front.upstream(canned(GOOD))
    await upstream.stop()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(upstream.directory / "p.sock"))
    client = await front.client()
    client.send(request())
    await until(lambda: front.plane.ways["hello"].held)
    again = Upstream(canned(GOOD))
    await again.start()
    front.put(again.endpoint)
    assert (await client.answer()).body == b"good"
    await again.aclose()


# -- back-pressure ----------------------------------------------------------------------------------------------------


async def test_a_slow_client_pauses_its_plugin(front):
    """A client that does not read holds little of our memory: the plugin waits."""
    sent = 0

    async def script(visit, upstream):
        nonlocal sent
        await visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % 2**28)
        while sent < 2**28:
            visit.send(b"x" * 65536)
            await visit.writer.drain()
            sent += 65536

    await front.upstream(script)
    reader = await raw_client(front, request())
    await stable(lambda: sent)
    assert sent < 24 * 2**20
    (exchange,) = front.plane.active
    assert exchange._client.write_paused
    got = await asyncio.to_thread(read_all, reader, 2**28)
    assert got >= 2**28


async def test_a_client_that_asks_again_without_reading_gets_no_more_memory(front):
    """An answer is not begun before the client has read the one before."""
    bulk = 3 * 2**20
    upstream = await front.upstream(canned(ok(b"x" * bulk)))
    reader = await raw_client(front, request())
    for number in range(1, 60):
        await asyncio.to_thread(reader.sendall, request())
        await stable(lambda: len(upstream.journal))
        if len(upstream.journal) < number:
            break
    else:
        raise AssertionError("every request was answered into our memory")
    assert len(upstream.journal) < 12


async def test_a_slow_plugin_pauses_its_client(front):
    """A plugin that does not read its request's body holds little of our memory: the client waits."""
    go = asyncio.Event()
    total = 9 * 2**20

    async def script(visit, upstream):
        visit.writer.transport.pause_reading()
        await go.wait()
        visit.writer.transport.resume_reading()
        seen = await visit.request()
        visit.send(ok(b"%d" % len(seen.body)))

    await front.upstream(script)
    client = await front.client()
    client.send(request("POST", body=b"x" * total))
    await until(lambda: front.plane.active and next(iter(front.plane.active))._client.flow.read_paused)
    (exchange,) = front.plane.active
    assert exchange._upstream.transport.get_write_buffer_size() < 2**20
    assert client.writer.transport.get_write_buffer_size() > 2**20
    go.set()
    assert (await client.answer()).body == b"%d" % total


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_held_request_keeps_little_of_its_body(front, framing):
    """While there is no instance, a large body stays with its client."""
    front.put(None, hold=True)
    client = await front.client()
    body = b"x" * 8 * 2**20
    client.send(request("POST", body=body) if framing == "length" else request("POST", chunked=[body]))
    await until(lambda: front.plane.active and next(iter(front.plane.active))._client.flow.read_paused)
    (exchange,) = front.plane.active
    assert exchange.request.size < 2**20

    async def count(visit, upstream):
        visit.send(ok(b"%d" % len((await visit.request()).body)))

    upstream = await front.upstream(count, put=False)
    front.put(upstream.endpoint)
    assert (await client.answer()).body == b"%d" % len(body)


async def raw_client(front, data):
    """A client that reads only when told, with small buffers."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    await asyncio.to_thread(sock.connect, ("127.0.0.1", front.port))
    front._stack.callback(sock.close)
    await asyncio.to_thread(sock.sendall, data)
    return sock


async def stable(value):
    """Wait until a value has not changed for a while."""
    before, same = value(), 0
    while same < 10:
        await asyncio.sleep(0.01)
        before, same = value(), same + 1 if value() == before else 0


def read_all(sock, size):
    sock.settimeout(10)
    got = 0
    while got < size and (data := sock.recv(2**20)):
        got += len(data)
    return got
