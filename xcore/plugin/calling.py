"""How a plugin calls another: one HTTP request over a connection that leads to the controller and nowhere else.

The controller decides whether it may, carries deadline and request id on, and tells the other who called. A request
names the one it belongs to by what came with that (`Xcore-Call`), so that chains of calls have an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

import msgspec

CALL_SOCKET, CALL_TOKEN = "c.sock", "token"
CALL_HEADER, CALLER_HEADER = b"xcore-call", b"xcore-caller"
CONNECT_SECONDS = 5.0
MAX_ANSWER = 10 * 2**20
_MAX_HEAD = 128 * 1024
_AGAIN_SECONDS = 0.05


class Serving(NamedTuple):
    """The request that is being served: what the controller calls it, and the plugin that made it, if one did."""

    call: str = ""
    caller: str = ""


SERVING: ContextVar[Serving] = ContextVar("xcore_serving", default=Serving())  # noqa: B039  a tuple


class Reply(NamedTuple):
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Calls(Protocol):
    """Carries one call, `target` being what follows `/app/`; raises CallFailed when no whole answer comes back."""

    async def __call__(self, target: str, body: bytes, media_type: str) -> Reply: ...


class CallFailed(Exception):
    """A call was not answered well. `answered`: the other plugin itself says so; else it was not reached, or not in time.

    `status`, `reason`, `detail` and `errors` (field → message) are those of the problem that came back.
    """

    def __init__(self, status: int, reason: str, detail: str, *, answered: bool = False) -> None:
        super().__init__(f"{status} {reason}: {detail}")
        self.status, self.reason, self.detail, self.answered = status, reason, detail, answered
        self.errors: dict[str, str] = {}


async def nobody(target: str, body: bytes, media_type: str) -> Reply:  # noqa: ARG001  the shape of Calls
    """Stand for `Calls` where the manifest names no plugin to call."""
    plugin = target.partition("/")[0]
    raise CallFailed(403, "Forbidden", f"this plugin may call none: name {plugin} in spec.calls")


def asked(
    plugin: str, action: str, body: bytes | None, arguments: Mapping[str, Any]
) -> tuple[str, bytes, str]:
    """Give what `Calls` carries: target, body and its media type."""
    target = f"{quote(plugin, safe='')}/{quote(action, safe='')}"
    if body is None:
        return target, msgspec.json.encode(arguments), "application/json"
    return f"{target}?{query(arguments)}", body, "application/octet-stream"


def result(reply: Reply, returns: Any) -> Any:
    """Give what an action returned; raises CallFailed where it did not."""
    if reply.status >= 400:
        raise _failure(reply)
    try:
        return decoded(reply, returns)
    except msgspec.DecodeError as error:
        detail = f"the answer is something else than what was expected: {error}"
        raise CallFailed(502, "UpstreamInvalid", detail, answered=True) from error


def decoded(reply: Reply, returns: Any = None) -> Any:
    """Give JSON as data (of the type `returns`), JSON lines as a list, anything else as bytes."""
    media = reply.headers.get("content-type", "").partition(";")[0]
    decoder = msgspec.json.Decoder(Any if returns is None else returns)
    if media.endswith("ndjson"):
        return decoder.decode_lines(reply.content)
    return decoder.decode(reply.content) if reply.content and media.endswith("json") else reply.content


def query(arguments: Mapping[str, Any]) -> str:
    """Booleans as JSON has them, lists as repeated parameters, None left out."""
    given = {name: value for name, value in arguments.items() if value is not None}
    return urlencode({name: _text(value) for name, value in given.items()}, doseq=True)


def _text(value: Any) -> Any:
    if isinstance(value, list | tuple | set):
        return [_text(one) for one in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Problem(msgspec.Struct):
    """What is read of RFC 9457."""

    reason: str = ""
    detail: str = ""
    errors: list[dict[str, str]] = []


def _failure(reply: Reply) -> CallFailed:
    problem = _Problem()
    if reply.headers.get("content-type", "").startswith("application/problem+json"):
        try:
            problem = msgspec.json.decode(reply.content, type=_Problem)
        except msgspec.DecodeError:  # the plugin's own idea of a problem
            problem = _Problem(detail=reply.content[:1000].decode(errors="replace"))
    ours = reply.headers.get("xcore-reason", "")
    failed = CallFailed(reply.status, ours or problem.reason, problem.detail, answered=not ours)
    failed.errors = {error.get("field", ""): error.get("message", "") for error in problem.errors}
    return failed


# What the controller calls the request that a call belongs to → a connection, and what that is called there.
Dial = Callable[[str], Awaitable[tuple[socket.socket, str]]]


class SocketCalls:
    """Carries calls over connections that `dial` makes, one for each. See `Calls`."""

    def __init__(self, dial: Dial, token: Callable[[], str]) -> None:
        self._dial, self._token = dial, token

    async def __call__(self, target: str, body: bytes, media_type: str) -> Reply:
        try:
            sock, belongs = await self._connect()
            async with _opened(sock) as (reader, writer):
                writer.write(self._head(target, len(body), media_type, belongs) + body)
                return await _read(reader)
        except (OSError, EOFError) as error:
            raise CallFailed(
                502, "UpstreamUnreachable", "the connection broke before the answer was whole"
            ) from error

    def _head(self, target: str, length: int, media_type: str, belongs: str) -> bytes:
        lines = [
            f"POST /app/{target} HTTP/1.1",
            "host: xcore",
            f"authorization: Bearer {self._token()}",
            f"content-type: {media_type}",
            f"content-length: {length}",
            "connection: close",
            *([f"{CALL_HEADER.decode()}: {belongs}"] if belongs else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def _connect(self) -> tuple[socket.socket, str]:
        """Try for a moment: a controller that is replaced by the next one is away for so long."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                while True:
                    with contextlib.suppress(OSError):
                        return await self._dial(SERVING.get().call)
                    await asyncio.sleep(_AGAIN_SECONDS)
        except TimeoutError as error:
            raise CallFailed(503, "RuntimeUnavailable", "the controller cannot be reached") from error


def calls_in(directory: Path) -> SocketCalls:
    """Give the way through the socket in a directory that the controller handed over."""

    async def dial(call: str) -> tuple[socket.socket, str]:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(directory / CALL_SOCKET))  # at once, or not now: a full backlog gives EAGAIN
        except OSError:
            sock.close()
            raise
        return sock, call

    return SocketCalls(dial, _token_in(directory))


def calls_at(address: str, directory: Path) -> SocketCalls:
    """Give the way over a network: to the controller that sent the request, or, for what belongs to none, any at `address`.

    `address` is numeric, HOST:PORT; each request names that of its own controller behind an @. The token lies in the directory.
    One that is silent may be busy, and is waited for: called elsewhere, a call would lose its deadline and its end.
    """

    async def dial(call: str) -> tuple[socket.socket, str]:
        _, _, own = call.partition("@")
        if own:
            # A controller that is gone took the request with it: what is left to do belongs to none.
            with contextlib.suppress(OSError):
                return await _dialled(own), call
        return await _dialled(address), ""

    return SocketCalls(dial, _token_in(directory))


async def _dialled(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    except BaseException:
        sock.close()
        raise
    return sock


def _token_in(directory: Path) -> Callable[[], str]:
    """Read anew for each call: a cluster renews it."""
    return lambda: (directory / CALL_TOKEN).read_text("ascii")


@asynccontextmanager
async def _opened(sock: socket.socket) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    try:
        reader, writer = await asyncio.open_connection(sock=sock, limit=_MAX_HEAD)
    except BaseException:
        sock.close()
        raise
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Reply:
    """Read one answer as the controller frames it: by length, by chunks, or up to the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    if "transfer-encoding" in headers:
        content = await _chunks(reader)
    elif "content-length" in headers:
        content = await _exactly(reader, int(headers["content-length"]))
    else:
        content = b""
    return Reply(int(head[0].split(" ")[1]), headers, content)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    left = MAX_ANSWER
    while size := int(await reader.readuntil(b"\r\n"), 16):
        if size > left:
            raise _too_large()
        left -= size
        parts.append((await reader.readexactly(size + 2))[:-2])
    return b"".join(parts)


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    if size > MAX_ANSWER:
        raise _too_large()
    return await reader.readexactly(size)


def _too_large() -> CallFailed:
    return CallFailed(413, "BodyTooLarge", f"the answer is over {MAX_ANSWER} bytes: it was not read")
