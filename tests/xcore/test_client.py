"""One POST to a sandbox: a whole answer or an error that says which hop failed."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from xcore.client import MAX_ANSWER, post
from xcore.endpoint import AsgiEndpoint, UnixEndpoint
from xcore.errors import NotSupported, UpstreamIdentity, UpstreamInvalid, UpstreamUnreachable
from xcore.plugin.calling import decoded

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.fixture
def sandbox(tmp_path):
    """Whoever connects gets these bytes; gives an endpoint and what was sent to it."""

    @asynccontextmanager
    async def begin(answer: bytes, *, belongs: bool = True):
        heard = bytearray()

        async def serve(reader, writer):
            heard.extend(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "p.sock")
        async with server:
            yield UnixEndpoint(Path(tmp_path), lambda _: belongs), heard

    return begin


async def ask(endpoint):
    return await post(endpoint, "p/a", b"{}", "application/json")


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
        assert (reply.status, decoded(reply)) == (200, [])
        assert heard.startswith(b"POST /app/p/a HTTP/1.1\r\n")
        assert b"connection: close\r\n" in heard


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", UpstreamUnreachable),
        (OK + b"content-length: 9\r\n\r\n[]", UpstreamUnreachable),
        (b"SSH-2.0-none\r\n\r\n", UpstreamInvalid),
        (OK + b"content-length: x\r\n\r\n", UpstreamInvalid),
        (OK + b"content-length: %d\r\n\r\n" % (MAX_ANSWER + 1) + b"x" * (MAX_ANSWER + 1), UpstreamInvalid),
    ],
)
async def test_what_is_no_whole_answer_is_an_error(sandbox, answer, error):
    """Nothing, a part, no HTTP, more than is taken."""
    async with sandbox(answer) as (endpoint, _):
        with pytest.raises(error):
            await ask(endpoint)


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
