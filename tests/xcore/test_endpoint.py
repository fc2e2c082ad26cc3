"""Dialling a sandbox: only its own socket, only its own process, and never more than was asked for."""

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from xcore.describe import describe
from xcore.endpoint import AsgiEndpoint, TcpEndpoint, UnixEndpoint
from xcore.errors import UpstreamError, UpstreamIdentity, UpstreamInvalid, UpstreamUnreachable
from xcore.testing import Behaviour, FakeClock, FakeEndpoint


def endpoint(directory, *, belongs=lambda pid: pid == os.getpid()):
    return UnixEndpoint(directory, belongs)


@contextlib.contextmanager
def listening(directory, *, backlog=16, name="p.sock"):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / name))
        listener.listen(backlog)
        yield listener


@contextlib.asynccontextmanager
async def answering(directory, *pieces, close=True):
    """A sandbox that answers every connection with these bytes."""

    talking = []

    async def talk(reader, writer):
        talking.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if not close:
                await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(talk, directory / "p.sock")
    async with server:
        yield endpoint(directory)
    for writer in talking:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def get(of, path="/ready", *, seconds=5.0, limit=1024):
    return await of.get(path, seconds=seconds, limit=limit)


async def test_a_probe_gives_status_and_body(tmp_path):
    async with answering(tmp_path, b"HTTP/1.1 503 No\r\nX: y\r\n\r\n", b"not ", b"yet") as of:
        assert await get(of) == (503, b"not yet")


async def test_the_peer_is_asked_about_at_every_connection(tmp_path):
    asked = []
    with listening(tmp_path):
        of = endpoint(tmp_path, belongs=lambda pid: asked.append(pid) or True)
        of.dial().close()
        of.dial().close()
    assert asked == [os.getpid()] * 2


async def test_a_foreign_process_behind_the_socket_is_refused(tmp_path):
    with listening(tmp_path), pytest.raises(UpstreamIdentity):
        endpoint(tmp_path, belongs=lambda _: False).dial()


@pytest.mark.parametrize("what", ["link to a socket", "link to nowhere", "pipe", "file", "folder"])
async def test_whatever_else_a_sandbox_puts_there_is_never_opened(tmp_path, what):
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    path = own / "p.sock"
    with listening(other, name="host.sock"):
        {
            "link to a socket": lambda: path.symlink_to(other / "host.sock"),
            "link to nowhere": lambda: path.symlink_to(other / "nowhere"),
            "pipe": lambda: os.mkfifo(path),
            "file": path.touch,
            "folder": path.mkdir,
        }[what]()
        with pytest.raises(UpstreamIdentity):
            endpoint(own).dial()


async def test_a_directory_swapped_for_a_link_is_not_followed(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    with listening(real), pytest.raises(UpstreamError):
        endpoint(link).dial()


@pytest.mark.parametrize("missing", ["directory", "socket", "listener"])
async def test_nobody_there_is_unreachable(tmp_path, missing):
    directory = tmp_path / "gone" if missing == "directory" else tmp_path
    if missing == "listener":
        with listening(tmp_path):
            pass
    with pytest.raises(UpstreamUnreachable):
        await get(endpoint(directory))


async def test_a_full_backlog_is_unreachable_at_once(tmp_path):
    with listening(tmp_path, backlog=0), contextlib.ExitStack() as held:
        of = endpoint(tmp_path)
        for _ in range(10):
            try:
                held.enter_context(contextlib.closing(of.dial()))
            except UpstreamUnreachable:
                break
        else:
            pytest.fail("every dial went through")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0 200 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 -20 Low\r\n\r\n",
        "HTTP/1.1 \uff12\uff10\uff10 wide\r\n\r\n".encode(),
        b"\x00" * 3000,
    ],
)
async def test_an_answer_that_is_not_http_is_invalid(tmp_path, answer):
    async with answering(tmp_path, answer) as of:
        with pytest.raises(UpstreamInvalid):
            await get(of)


async def test_a_huge_answer_is_read_no_further_than_its_limit(tmp_path):
    sent = 0

    async def flood(reader, writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65536)
                sent += 65536
                await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(flood, tmp_path / "p.sock"):
        status, body = await get(endpoint(tmp_path), limit=1000)
    assert (status, body) == (200, b"x" * 1000)
    assert sent < 2**21


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 200 OK\r\n",), (b"HTTP/1.1 200 OK\r\n\r\n", b"half")])
async def test_a_silent_or_slow_sandbox_is_given_up_in_time(tmp_path, pieces):
    async with answering(tmp_path, *pieces, close=False) as of:
        with pytest.raises(UpstreamUnreachable, match=r"no answer to /ready within 0.05 s"):
            await get(of, seconds=0.05)


async def test_a_connection_that_breaks_is_unreachable_and_says_no_path(tmp_path):
    with listening(tmp_path) as listener:

        def hang_up():
            connection, _ = listener.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()  # with the request unread: the other side sees a reset

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(UpstreamError) as broken:
            await get(endpoint(tmp_path))
        thread.join()
    assert str(tmp_path) not in broken.value.detail


async def test_no_descriptor_is_left_open_whatever_happens(tmp_path):
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for kind in ("link", "foreign", "gone"):
        directory = tmp_path / kind
        directory.mkdir()
        if kind == "link":
            (directory / "p.sock").symlink_to("/")
        with listening(directory) if kind == "foreign" else contextlib.nullcontext():
            for _ in range(20):
                with pytest.raises(UpstreamError):
                    endpoint(directory, belongs=lambda _: False).dial()
    assert len(list(descriptors.iterdir())) == before


async def test_a_trusted_plugin_is_asked_in_process_within_the_same_bounds():
    async def probe(path):
        if path == "/slow":
            await asyncio.Event().wait()
        return 200, b"x" * 100

    of = AsgiEndpoint(None, probe)
    assert await get(of, limit=10) == (200, b"x" * 10)
    with pytest.raises(UpstreamUnreachable, match="no answer to /slow"):
        await get(of, "/slow", seconds=0.01)


def test_endpoints_are_the_same_when_they_lead_to_the_same_place(tmp_path):
    assert endpoint(tmp_path) == endpoint(tmp_path)
    assert endpoint(tmp_path) != endpoint(tmp_path / "other")


class Says(FakeEndpoint):
    def __init__(self, body):
        super().__init__(Behaviour(), FakeClock(), 0.0)
        self.body = body

    async def get(self, path, *, seconds, limit):
        return 200, self.body


async def test_a_description_is_believed_as_far_as_names_go():
    body = b'{"actions": [{"name": "greet"}, {"name": "<script>"}, {"name": 5}, {"name": "a b"}, {"name": "x_1"}]}'
    assert await describe(Says(body), 1024) == ["greet", "x_1"]
    many = b'{"actions": [' + b", ".join(b'{"name": "a%d"}' % n for n in range(1000)) + b"]}"
    assert len(await describe(Says(many), 2**20)) == 256


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"actions": 5}', b'{"actions": {"a": 1}}', b'{"actions": ["a"]}', b"[" * 100_000],
)
async def test_a_description_that_is_none_is_refused(body):
    with pytest.raises(UpstreamInvalid):
        await describe(Says(body), 2**20)


# -- a port on the loopback of a sandbox ------------------------------------------------------------------------------


class Network:
    """Stands for a sandbox's network: this machine's own loopback."""

    def __init__(self, fault=None):
        self.fault, self.proofs, self.families = fault, 0, []

    async def socket(self, family):
        self.families.append(family)
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    async def prove(self):
        self.proofs += 1
        if self.fault is not None:
            raise self.fault


@contextlib.asynccontextmanager
async def serving(host="127.0.0.1", answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"):
    async def talk(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_port_is_asked_like_a_socket():
    async with serving() as port:
        assert await get(TcpEndpoint(Network(), port)) == (200, b"ok")


async def test_an_empty_path_asks_for_a_connection_alone(tmp_path):
    """Nothing is written to it, whatever it is that listens."""
    async with serving(answer=b"no HTTP") as port:
        assert await get(TcpEndpoint(Network(), port), "") == (200, b"")
    with listening(tmp_path) as listener:
        assert await get(endpoint(tmp_path), "") == (200, b"")
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1) == b""


async def test_nothing_is_asked_of_a_network_that_is_not_proven_to_be_cut_off():
    network = Network(UpstreamIdentity("the sandbox has network devices beside loopback: eth0"))
    async with serving() as port:
        with pytest.raises(UpstreamIdentity, match="eth0"):
            await get(TcpEndpoint(network, port), "")
    assert network.families == []


async def test_every_probe_proves_it_anew_and_no_request_waits_for_that():
    network = Network()
    async with serving() as port:
        of = TcpEndpoint(network, port)
        await get(of)
        await get(of, "")
        (await of.dial()).close()
    assert network.proofs == 2


async def test_a_port_that_listens_on_the_newer_loopback_alone_is_found_too():
    async with serving("::1") as port:
        assert await get(TcpEndpoint(Network(), port)) == (200, b"ok")


async def test_a_port_nobody_listens_on_is_said_so():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UpstreamUnreachable, match=f"nothing listens on port {port}"):
        await get(TcpEndpoint(Network(), port), "")


async def test_a_port_whose_backlog_is_full_is_given_up_and_not_waited_for(monkeypatch):
    monkeypatch.setattr("xcore.endpoint.CONNECT_SECONDS", 0.1)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        with pytest.raises(UpstreamUnreachable, match="takes no connections"):
            await TcpEndpoint(Network(), listener.getsockname()[1]).dial()


def test_two_ways_to_one_port_of_one_sandbox_are_the_same_way():
    """A look at the engine makes them anew; a route must not take that for a change."""
    network = Network()
    assert TcpEndpoint(network, 80) == TcpEndpoint(network, 80)
    assert TcpEndpoint(network, 80) != TcpEndpoint(network, 81)
