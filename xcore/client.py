"""One request to a sandbox, for a program without the data plane: a body in, a whole answer out, both bounded."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
from typing import Any, NamedTuple

import httptools

from xcore.endpoint import AddressEndpoint, Endpoint, TcpEndpoint, UnixEndpoint
from xcore.errors import NotSupported, UpstreamInvalid, UpstreamUnreachable

MAX_ANSWER = 10 * 2**20
_PIECE = 64 * 1024


class Reply(NamedTuple):
    """What came back, whole."""

    status: int
    content_type: str
    content: bytes

    def value(self) -> Any:
        """Its JSON; what is none as bytes. Raises UpstreamInvalid where it only says it is JSON."""
        media = self.content_type.partition(";")[0].strip()
        if not (media == "application/json" or media.endswith("+json")) or not self.content:
            return self.content
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            raise UpstreamInvalid("the answer says it is JSON, and is none") from None


class CallFailed(Exception):
    """A plugin that answered with an error, or cannot answer: `status`, `reason` and `detail` as problems have them."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(f"{status} {reason}: {detail}")
        self.status, self.reason, self.detail = status, reason, detail

    @classmethod
    def of(cls, reply: Reply) -> CallFailed:
        told = reply.value()
        if not isinstance(told, dict):
            return cls(reply.status, "", reply.content[:1000].decode("utf-8", "replace"))
        return cls(reply.status, str(told.get("reason", "")), str(told.get("detail", "")))


async def post(
    endpoint: Endpoint, path: str, body: bytes, *, seconds: float, most: int = MAX_ANSWER
) -> Reply:
    """POST JSON; raises UpstreamUnreachable, UpstreamIdentity, UpstreamInvalid, NotSupported for what is no sandbox."""
    try:
        async with asyncio.timeout(seconds):
            return await _exchange(await _dial(endpoint), path, body, most)
    except TimeoutError:
        raise UpstreamUnreachable(f"no whole answer within {seconds:g} s") from None
    except OSError as error:
        raise UpstreamUnreachable(f"the connection broke ({type(error).__name__})") from error


async def _dial(endpoint: Endpoint) -> socket.socket:
    if not isinstance(endpoint, UnixEndpoint | TcpEndpoint | AddressEndpoint):
        raise NotSupported("only a plugin in a sandbox can be called so")
    dialled = endpoint.dial()
    return await dialled if inspect.isawaitable(dialled) else dialled


async def _exchange(sock: socket.socket, path: str, body: bytes, most: int) -> Reply:
    try:
        reader, writer = await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nAccept: application/json\r\n"
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + length).encode("ascii") + body)
        answer = _Answer(most)
        while not answer.whole and (piece := await reader.read(_PIECE)):
            answer.feed(piece)
        return answer.reply()
    finally:
        writer.close()


class _Answer:
    """What httptools reads of one answer; it calls the methods named `on_…`."""

    def __init__(self, most: int) -> None:
        self._parser, self._most = httptools.HttpResponseParser(self), most
        self._content = bytearray()
        self._type = ""
        self.whole = False

    def feed(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserError as error:
            raise UpstreamInvalid(f"the answer is not HTTP: {error}") from None
        if len(self._content) > self._most:
            raise UpstreamInvalid(f"the answer is larger than {self._most} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._type = value.decode("latin-1")

    def on_body(self, piece: bytes) -> None:
        self._content += piece

    def on_message_complete(self) -> None:
        self.whole = True

    def reply(self) -> Reply:
        if not self.whole:
            raise UpstreamUnreachable("the connection was closed before the answer was whole")
        return Reply(self._parser.get_status_code(), self._type, bytes(self._content))
