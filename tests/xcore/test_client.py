"""One POST to a sandbox: a whole answer or an error that says which hop failed."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from xcore.client import CallFailed, Reply, post
from xcore.endpoint import AsgiEndpoint, UnixEndpoint
from xcore.errors import NotSupported, UpstreamIdentity, UpstreamInvalid, UpstreamUnreachable

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.fixture
def sandbox(tmp_path):
    """Whoever connects gets these bytes; gives an endpoint and what was sent to it."""

    @asynccontextmanager
    async def begin(answer: bytes, *, hang: bool = False, belongs: bool = True):
        heard = bytearray()
        ended = asyncio.Event()

        async def serve(reader, writer):
            heard.extend(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if hang:
                await ended.wait()
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "p.sock")
        async with server:
            yield UnixEndpoint(Path(tmp_path), lambda _: belongs), heard
            ended.set()

    return begin


async def ask(endpoint, *, seconds=5.0, most=1000):
    return await post(endpoint, "/app/p/a", b"{}", seconds=seconds, most=most)


@pytest.mark.parametrize(
    "rest",
    [
        b"content-length: 2\r\n\r\n[]",
        b"transfer-encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n",
    ],
)
async def test_an_answer_is_read_whole_however_it_is_framed(sandbox, rest):
    """And what is asked is one POST of JSON that ends its connection."""
    async with sandbox(OK + rest) as (endpoint, heard):
        reply = await ask(endpoint)
        assert (reply.status, reply.value()) == (200, [])
        assert heard.startswith(b"POST /app/p/a HTTP/1.1\r\n")
        assert b"Connection: close\r\n" in heard


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", UpstreamUnreachable),
        (OK + b"content-length: 9\r\n\r\n[]", UpstreamUnreachable),
        (b"SSH-2.0-none\r\n\r\n", UpstreamInvalid),
        (OK + b"content-length: x\r\n\r\n", UpstreamInvalid),
        (OK + b"content-length: 2000\r\n\r\n" + b"x" * 2000, UpstreamInvalid),
    ],
)
async def test_what_is_no_whole_answer_is_an_error(sandbox, answer, error):
    """Nothing, a part, no HTTP, more than is taken."""
    async with sandbox(answer) as (endpoint, _):
        with pytest.raises(error):
            await ask(endpoint)


async def test_an_answer_that_does_not_end_is_not_waited_for(sandbox):
    """The time is for all of it."""
    async with sandbox(OK + b"content-length: 9\r\n\r\n", hang=True) as (endpoint, _):
        with pytest.raises(UpstreamUnreachable, match=r"no whole answer within 0\.1 s"):
            await ask(endpoint, seconds=0.1)


async def test_somebody_elses_socket_is_not_asked(sandbox):
    """As everywhere: whose process it is is looked at first."""
    async with sandbox(OK, belongs=False) as (endpoint, heard):
        with pytest.raises(UpstreamIdentity):
            await ask(endpoint)
        assert heard == b""


async def test_a_trusted_plugin_is_not_called_so():
    """There is no socket to dial."""

    async def nothing(*_):
        return 200, b""

    with pytest.raises(NotSupported):
        await ask(AsgiEndpoint(nothing, nothing))


def test_what_a_reply_holds_is_told_by_its_type():
    """JSON decoded, all else as it came, a lie refused."""
    assert Reply(200, "application/json; charset=utf-8", b'{"a": 1}').value() == {"a": 1}
    assert Reply(200, "application/problem+json", b"{}").value() == {}
    assert Reply(200, "image/png", b"x").value() == b"x"
    assert Reply(204, "", b"").value() == b""
    with pytest.raises(UpstreamInvalid):
        Reply(200, "application/json", b"{").value()


def test_a_failure_says_what_the_problem_says():
    """And as much of anything else as fits a line or two."""
    problem = b'{"reason": "ActionFailed", "detail": "it raised"}'
    failed = CallFailed.of(Reply(500, "application/problem+json", problem))
    assert str(failed) == "500 ActionFailed: it raised"
    assert CallFailed.of(Reply(404, "text/plain", b"no\n")).detail == "no\n"
