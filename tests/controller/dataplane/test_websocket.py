"""WebSockets from end to end: what passes, who may, and how each of them ends."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import unix_serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from controller.dataplane import tunnel, websocket
from tests.controller.dataplane.support import KEY, SECONDS
from tests.support import until
from xcore.endpoint import UnixEndpoint

IDLE = {"actions": [{"name": "live", "timeouts": {"idleSeconds": 0.3}}]}
SHORT = {"actions": [{"name": "live", "timeouts": {"maxDurationSeconds": 0.3}}]}
SMALL = {"actions": [{"name": "live", "maxBodyBytes": 1000}]}
PUBLIC = {"actions": [{"name": "live", "access": "Public"}]}


async def echo(socket):
    """Send back what comes."""
    async for message in socket:
        await socket.send(message)


@contextlib.asynccontextmanager
async def plugin(front, script=echo, /, tmp_path=None, *, name="hello", spec=None, **options):
    """A plugin that serves WebSockets as `script` says; gives the connections it has seen."""
    directory = Path(tmp_path) / name
    directory.mkdir(exist_ok=True)
    seen = []

    async def visited(socket):
        seen.append(socket)
        await script(socket)

    async with unix_serve(visited, str(directory / "p.sock"), ping_interval=None, **options) as server:
        seen_target = front.put(UnixEndpoint(directory, lambda pid: True), name, **(spec or {}))
        seen_server = server
        yield Plugin(seen, seen_target, seen_server)


class Plugin:
    def __init__(self, sockets, target, server):
        self.sockets, self.target, self.server = sockets, target, server


def url(front, path="/app/hello/live"):
    return f"ws://127.0.0.1:{front.port}{path}"


def client(front, path="/app/hello/live", **options):
    return connect(
        url(front, path), ping_interval=None, open_timeout=SECONDS, close_timeout=SECONDS, **options
    )


async def closed(socket):
    """The code and reason it ends with."""
    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code, socket.close_reason


async def ended(socket):
    """The same of an end that somebody else reads from."""
    await asyncio.wait_for(socket.wait_closed(), SECONDS)
    return socket.close_code, socket.close_reason


async def test_messages_pass_both_ways(front, tmp_path):
    """Texts and bytes, empty ones and large ones arrive as they were sent."""
    async with plugin(front, tmp_path=tmp_path), client(front, max_size=2**24) as socket:
        for message in ("", "hello", b"\x00\xff", "ä" * 70000, b"x" * 2**20):
            await socket.send(message)
            assert await socket.recv() == message


async def test_fragments_pass_as_they_are(front, tmp_path):
    """A message in pieces is a message in pieces at the other end."""

    async def pieces(socket):
        await socket.send([piece async for piece in socket.recv_streaming()])

    async with plugin(front, pieces, tmp_path=tmp_path), client(front) as socket:
        await socket.send(["a", "b", "c"])
        assert [piece async for piece in socket.recv_streaming()] == ["a", "b", "c", "", ""]


async def test_pings_of_both_sides_are_answered_by_the_other_end(front, tmp_path):
    """A ping asks whether the other end is there, not whether we are."""
    async with plugin(front, tmp_path=tmp_path) as there, client(front) as socket:
        assert await (await socket.ping(b"1")) >= 0
        assert await (await there.sockets[0].ping(b"2")) >= 0


async def test_the_plugin_chooses_a_subprotocol(front, tmp_path):
    """What is offered, chosen and asked for arrives: path, query, fields, subprotocols."""
    async with (
        plugin(front, tmp_path=tmp_path, subprotocols=["chat", "v2"]) as there,
        client(front, "/app/hello/live?room=1", subprotocols=["x", "v2"]) as socket,
    ):
        assert socket.subprotocol == "v2"
        asked = there.sockets[0].request
        assert asked.path == "/app/hello/live?room=1"
        assert asked.headers["Sec-WebSocket-Protocol"] == "x, v2"
        assert asked.headers["X-Forwarded-For"] == "127.0.0.1"
        assert asked.headers["X-Request-Id"] == socket.response.headers["X-Request-Id"]


async def test_extensions_are_not_offered_to_a_plugin(front, tmp_path):
    """No compression: frames are watched as they are, and no message is larger than it looks."""
    async with plugin(front, tmp_path=tmp_path) as there, client(front) as socket:
        assert "Sec-WebSocket-Extensions" not in there.sockets[0].request.headers
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


# -- keys and origins ----------------------------------------------------------------------------------------------


async def test_a_key_is_needed(locked, tmp_path):
    """Without a key there is no WebSocket, unless the action is public; with one there is."""
    bearer = {"Authorization": f"Bearer {KEY.decode()}"}
    async with plugin(locked, tmp_path=tmp_path) as there:
        with pytest.raises(InvalidStatus) as refused:
            await client(locked)
        assert refused.value.response.status_code == 401
        async with client(locked, additional_headers=bearer):
            assert "Authorization" not in there.sockets[0].request.headers


async def test_a_public_action_needs_no_key(locked, tmp_path):
    async with plugin(locked, tmp_path=tmp_path, spec=PUBLIC), client(locked) as socket:
        await socket.send("a")
        assert await socket.recv() == "a"


@pytest.mark.parametrize("written", ["the-key", "the%2dkey"])
async def test_a_browser_shows_its_key_as_a_subprotocol(locked, tmp_path, written, caplog):
    """`xcore.bearer.<key>` opens like Authorization, and the plugin never sees it; nor does a log."""
    caplog.set_level("DEBUG")
    protocols = [f"xcore.bearer.{written}", "chat"]
    async with plugin(locked, tmp_path=tmp_path, subprotocols=["chat"]) as there:
        async with client(locked, subprotocols=protocols) as socket:
            assert socket.subprotocol == "chat"
        assert there.sockets[0].request.headers["Sec-WebSocket-Protocol"] == "chat"
        assert "bearer" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("xcore"))


async def test_a_plugin_without_subprotocols_can_be_reached_by_a_browser(locked, tmp_path):
    """A browser that offered some gives up when none is chosen: `xcore` beside the key is chosen by us."""
    protocols = ["xcore.bearer.the-key", "xcore"]
    async with plugin(locked, tmp_path=tmp_path) as there:
        async with client(locked, subprotocols=protocols) as socket:
            assert socket.subprotocol == "xcore"
        assert "Sec-WebSocket-Protocol" not in there.sockets[0].request.headers


async def test_a_wrong_key_among_subprotocols_is_401(locked, tmp_path):
    async with plugin(locked, tmp_path=tmp_path):
        with pytest.raises(InvalidStatus) as refused:
            await client(locked, subprotocols=["xcore.bearer.wrong", "xcore"])
        assert refused.value.response.status_code == 401


async def test_a_page_of_another_site_is_refused(front, tmp_path):
    """A WebSocket is open to any page by itself: we are the ones who must look at Origin."""
    front.plane.origins = frozenset({b"https://shop.example"})
    async with plugin(front, tmp_path=tmp_path) as there:
        with pytest.raises(InvalidStatus) as refused:
            await client(front, origin=Origin("https://evil.example"))
        assert refused.value.response.status_code == 403
        assert b"XCORE_ALLOWED_ORIGINS" in refused.value.response.body
        assert not there.sockets
        for origin in (f"http://127.0.0.1:{front.port}", "https://shop.example"):
            async with client(front, origin=Origin(origin)) as socket:
                assert there.sockets[-1].request.headers["Origin"] == origin
                await socket.send("a")


# -- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 3000, 4999])
async def test_close_codes_of_both_sides_pass(front, tmp_path, code):
    """Who closes, with what code and why, is told to the other end as it was said."""
    ends = []

    async def closing(socket):
        if (await socket.recv()) == "you":
            await socket.close(code, "because")
        else:
            ends.append(await closed(socket))

    async with plugin(front, closing, tmp_path=tmp_path):
        async with client(front) as socket:
            await socket.send("you")
            assert await closed(socket) == (code, "because")
        async with client(front) as socket:
            await socket.send("me")
            await socket.close(code, "because")
        await until(lambda: ends == [(code, "because")])
    await until(lambda: not front.connections)


async def test_a_plugin_that_dies_is_told_as_1011(front, tmp_path):
    """A connection that just ends is no clean end: the client gets a Close that says so."""

    async def dying(socket):
        await socket.recv()
        socket.transport.abort()

    async with plugin(front, dying, tmp_path=tmp_path), client(front) as socket:
        await socket.send("a")
        assert await closed(socket) == (1011, "the plugin ended without a Close")


async def test_a_client_that_vanishes_is_noticed_at_once(front, tmp_path):
    """The plugin's connection ends, and its place is free."""
    async with plugin(front, tmp_path=tmp_path) as there:
        socket = await client(front)
        await until(lambda: there.sockets)
        socket.transport.abort()
        await asyncio.wait_for(there.sockets[0].wait_closed(), 1)
        await until(lambda: not front.plane.active)
        await socket.wait_closed()


async def test_silence_ends_it(front, tmp_path):
    """`idleSeconds` without a frame in either direction: 1001, to both."""
    async with plugin(front, tmp_path=tmp_path, spec=IDLE) as there, client(front) as socket:
        assert await closed(socket) == (1001, "idleSeconds: 0.3")
        assert await ended(there.sockets[0]) == (1001, "idleSeconds: 0.3")


async def test_a_ping_counts_as_life(front, tmp_path):
    """An end that pings keeps its connection."""
    async with plugin(front, tmp_path=tmp_path, spec=IDLE), client(front) as socket:
        start = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - start < 0.8:
            await (await socket.ping())
            await asyncio.sleep(0.05)
        await socket.send("still here")
        assert await socket.recv() == "still here"


async def test_it_lasts_no_longer_than_it_may(front, tmp_path):
    """`maxDurationSeconds` is the whole of it, however lively."""

    async def lively(socket):
        while True:
            await socket.send("tick")
            await asyncio.sleep(0.01)

    async with plugin(front, lively, tmp_path=tmp_path, spec=SHORT), client(front) as socket:
        assert await closed(socket) == (1001, "maxDurationSeconds: 0.3")


async def test_a_message_over_the_limit_is_1009(front, tmp_path):
    """`maxBodyBytes` bounds a message, in one frame or many; nothing of it counts as whole at the plugin."""
    heard = []

    async def listening(socket):
        heard.append(await closed(socket))

    async with plugin(front, listening, tmp_path=tmp_path, spec=SMALL):
        for message in ("x" * 1001, ["x" * 600, "y" * 600]):
            async with client(front) as socket:
                with contextlib.suppress(ConnectionClosed):
                    await socket.send(message)
                assert await closed(socket) == (1009, "a message has 1000 bytes at most")
        await until(lambda: [code for code, _ in heard] == [1001, 1001])


async def test_an_instance_that_is_to_leave_closes_what_is_open(front, tmp_path):
    """A drained instance keeps its WebSockets for the grace it has, then both ends hear 1001."""
    async with plugin(front, tmp_path=tmp_path) as old, client(front) as socket:
        draining = asyncio.create_task(front.routes.drain("hello", old.target.instance, 3.0))
        front.put(None, "hello")
        await socket.send("still here")
        assert await socket.recv() == "still here"
        assert await closed(socket) == (1001, "leaving")
        assert await ended(old.sockets[0]) == (1001, "leaving")
        await asyncio.wait_for(draining, 3)
        assert old.target.inflight == 0


async def test_a_controller_that_leaves_says_so(front, tmp_path, monkeypatch):
    """When the controller ends, its WebSockets are closed in order before it does."""
    monkeypatch.setattr(websocket, "LEAVE_SECONDS", 2.3)
    async with plugin(front, tmp_path=tmp_path), client(front) as socket:
        await socket.send("a")
        assert await socket.recv() == "a"
        leaving = asyncio.create_task(front.shut_down())
        assert await closed(socket) == (1001, "leaving")
        await leaving


async def test_an_end_that_does_not_close_is_cut(front, tmp_path, monkeypatch):
    """Who ignores a Close loses the connection soon after."""
    monkeypatch.setattr(tunnel, "CLOSE_SECONDS", 0.1)
    raw = await front.client()
    async with plugin(front, tmp_path=tmp_path, spec=IDLE):
        raw.send(HANDSHAKE)
        head = await raw.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        assert (await raw.rest()).startswith(b"\x88")
        await until(lambda: not front.plane.active)


HANDSHAKE = (
    b"GET /app/hello/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


# -- back-pressure and bounds --------------------------------------------------------------------------------------


async def test_a_client_that_does_not_read_pauses_its_plugin(front, tmp_path):
    """What nobody reads is not gathered here."""
    sent = 0

    async def flooding(socket):
        nonlocal sent
        while True:
            await socket.send(b"x" * 2**16)
            sent += 2**16

    raw = await front.client()
    raw.reader._limit = 1024
    async with plugin(front, flooding, tmp_path=tmp_path):
        raw.send(HANDSHAKE)
        await stands_still(lambda: sent)
        assert 0 < sent < 32 * 2**20
        raw.leave()


async def test_a_plugin_that_does_not_read_pauses_its_client(front, tmp_path):
    """And the other way round."""
    sent = 0
    forever = asyncio.Event()

    async def deaf(socket):
        await forever.wait()
        socket.transport.abort()

    async with plugin(front, deaf, tmp_path=tmp_path), client(front) as socket:

        async def flood():
            nonlocal sent
            while True:
                await socket.send(b"x" * 2**16)
                sent += 2**16

        flooding = asyncio.create_task(flood())
        await stands_still(lambda: sent)
        assert 0 < sent < 32 * 2**20
        flooding.cancel()
        forever.set()
        socket.transport.abort()


async def stands_still(number):
    """Wait until it has not grown for a while."""
    last = -1
    while last != number() or not last:
        last = number()
        await asyncio.sleep(0.2)


async def test_a_websocket_takes_a_place(front, tmp_path):
    """`maxConcurrentRequests` counts it as long as it is open."""
    spec = {"traffic": {"maxConcurrentRequests": 1, "queue": {"maxLength": 0}}}
    async with plugin(front, tmp_path=tmp_path, spec=spec):
        async with client(front):
            with pytest.raises(InvalidStatus) as refused:
                await client(front)
            assert refused.value.response.headers["Xcore-Reason"] == "QueueFull"
        await until(lambda: not front.plane.active)
        async with client(front):
            pass


async def test_a_handshake_waits_for_an_instance(front, tmp_path):
    """Like any request, it is held while one is expected."""
    front.put(None, hold=True)
    opening = asyncio.create_task(client(front).__aenter__())
    await until(lambda: front.plane.ways["hello"].held)
    async with plugin(front, tmp_path=tmp_path):
        socket = await opening
        await socket.send("a")
        assert await socket.recv() == "a"
        await socket.close()


async def test_a_trusted_application_is_reached_through_the_pipe(front):
    """In this process or in a sandbox: messages, a Close of either side, and a client that leaves."""
    left = asyncio.Event()

    async def app(scope, receive, send):
        assert scope["type"] == "websocket"
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message["text"] == "close":
                await send({"type": "websocket.close", "code": 4001, "reason": "because"})
                return
            await send({"type": "websocket.send", "text": message["text"]})
        left.set()

    front.trusted(app)
    async with client(front) as socket:
        for message in ("a", "ä" * 100_000):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send("close")
        assert await closed(socket) == (4001, "because")
    socket = await client(front)
    socket.transport.abort()
    await asyncio.wait_for(left.wait(), 1)
    await socket.wait_closed()
