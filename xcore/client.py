"""One request to a sandbox, for a program without the data plane: a body in, a whole answer out, both bounded.

The answer is a stranger's and read as strictly as the data plane reads it.
"""

from __future__ import annotations

import asyncio
import inspect
import socket

import httptools

from xcore.endpoint import AddressEndpoint, Endpoint, TcpEndpoint, UnixEndpoint
from xcore.errors import NotSupported, UpstreamInvalid, UpstreamUnreachable
from xcore.plugin.calling import Reply

MAX_ANSWER = 10 * 2**20
_PIECE = 64 * 1024


async def post(endpoint: Endpoint, target: str, body: bytes, media_type: str) -> Reply:
    """POST to what follows `/app/`; an answer of any status is one.

    Raises UpstreamUnreachable, UpstreamIdentity, UpstreamInvalid, and NotSupported for what is no sandbox. How long it
    may take is the caller's to say (`asyncio.timeout`).
    """
    head = f"POST /app/{target} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n"
    kind = f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    try:
        return await _exchange(await _dial(endpoint), (head + kind).encode("ascii") + body)
    except OSError as error:
        raise UpstreamUnreachable(f"the connection broke ({type(error).__name__})") from error


async def _dial(endpoint: Endpoint) -> socket.socket:
    if not isinstance(endpoint, UnixEndpoint | TcpEndpoint | AddressEndpoint):
        raise NotSupported("only a plugin in a sandbox can be called so")
    dialled = endpoint.dial()
    return await dialled if inspect.isawaitable(dialled) else dialled


async def _exchange(sock: socket.socket, request: bytes) -> Reply:
    try:
        reader, writer = await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        writer.write(request)
        answer = _Answer()
        while not answer.whole and (piece := await reader.read(_PIECE)):
            answer.feed(piece)
        return answer.reply()
    finally:
        writer.transport.abort()


class _Answer:
    """What httptools reads of one answer; it calls the methods named `on_…`."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._content = bytearray()
        self.whole = False

    def feed(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserError as error:
            raise UpstreamInvalid(f"the answer is not HTTP: {error}") from None
        if len(self._content) > MAX_ANSWER:
            raise UpstreamInvalid(f"the answer is larger than {MAX_ANSWER} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, piece: bytes) -> None:
        self._content += piece

    def on_message_complete(self) -> None:
        self.whole = True

    def reply(self) -> Reply:
        if not self.whole:
            raise UpstreamUnreachable("the connection was closed before the answer was whole")
        return Reply(self._parser.get_status_code(), self._headers, bytes(self._content))
