"""Dialling a sandbox: only its own socket, only its own process, and never more than was asked for."""

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from xcore.describe import describe
from xcore.endpoint import AsgiEndpoint, UnixEndpoint
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
