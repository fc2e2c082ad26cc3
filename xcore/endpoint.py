"""Where an instance answers, and how to be sure that it is this instance that answers.

A sandbox owns the directory of its socket, so it can put anything there: a link to a host socket, another
plugin's socket, a FIFO. Dialling therefore opens without following links, demands a socket, connects to what
was opened (not to the name), and then demands that the peer process belongs to the sandbox. A port is dialled from
inside the sandbox's own network namespace: whoever listens there is of the sandbox. In a cluster an instance has an
address, and its network decides who may answer there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from xcore.errors import UpstreamIdentity, UpstreamInvalid, UpstreamUnreachable

SOCKET_NAME = "p.sock"
CONNECT_SECONDS = 2.0
_DIRECTORY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_STATUS = re.compile(rb"[1-5][0-9][0-9]")


class Endpoint(Protocol):
    """What probes need of every endpoint. Raises UpstreamError; bounded by `seconds` and `limit` bytes of body.

    An empty path asks for no more than a connection: (200, nothing).
    """

    async def get(self, path: str, *, seconds: float, limit: int) -> tuple[int, bytes]: ...


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A unix socket in a directory the sandbox may write.

    `belongs(pid)` tells whether a process is inside the sandbox; it is asked for every connection. `inside()` opens
    the directory as the sandbox sees it, for when it cannot be seen from outside any more.
    """

    directory: Path
    belongs: Callable[[int], bool] = field(compare=False)
    inside: Callable[[], int] | None = field(default=None, compare=False)
    name: str = SOCKET_NAME

    def dial(self) -> socket.socket:
        """Return a connected, non-blocking socket; raises UpstreamUnreachable or UpstreamIdentity."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._connect(sock)
            self._recognise(_peer_pid(sock))
        except OSError as error:
            sock.close()
            raise UpstreamUnreachable(f"the sandbox's socket cannot be reached: {error.strerror}") from error
        except UpstreamIdentity:
            sock.close()
            raise
        return sock

    def _recognise(self, pid: int) -> None:
        if pid <= 0 or not self.belongs(pid):
            raise UpstreamIdentity("the process behind the sandbox's socket is not of the sandbox")

    def _connect(self, sock: socket.socket) -> None:
        try:
            _connect_in(sock, self.name, os.open(self.directory, _DIRECTORY))
        except FileNotFoundError:
            if self.inside is None:
                raise
            _connect_in(sock, self.name, self.inside())

    async def get(self, path: str, *, seconds: float, limit: int) -> tuple[int, bytes]:
        async with _bounded(path, seconds):
            return await _ask(self.dial(), path, limit)


class Loopback(Protocol):
    """The network of one sandbox. Both raise UpstreamError.

    `socket` makes a non-blocking TCP socket inside it; `prove` raises unless nothing but loopback is in there.
    """

    async def socket(self, family: int) -> socket.socket: ...
    async def prove(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A port on the loopback of a sandbox. Each probe proves anew that its network is cut off: nothing is served before."""

    network: Loopback
    port: int

    async def dial(self) -> socket.socket:
        """Return a connected, non-blocking socket; raises UpstreamUnreachable or UpstreamIdentity."""
        try:
            return await self._connect(socket.AF_INET, "127.0.0.1")
        except TimeoutError:
            raise UpstreamUnreachable(f"port {self.port} takes no connections") from None
        except OSError:
            with contextlib.suppress(OSError):
                return await self._connect(socket.AF_INET6, "::1")
        raise UpstreamUnreachable(f"nothing listens on port {self.port}")

    async def _connect(self, family: int, address: str) -> socket.socket:
        return await _connected(await self.network.socket(family), (address, self.port))

    async def get(self, path: str, *, seconds: float, limit: int) -> tuple[int, bytes]:
        async with _bounded(path, seconds):
            await self.network.prove()
            return await _ask(await self.dial(), path, limit)


@dataclass(frozen=True, slots=True)
class AddressEndpoint:
    """An address that a cluster gave to one instance; who answers there is the cluster's word."""

    host: str
    port: int

    async def dial(self) -> socket.socket:
        """Return a connected, non-blocking socket; raises UpstreamUnreachable."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return await _connected(sock, (self.host, self.port))
        except OSError as error:  # also TimeoutError
            raise UpstreamUnreachable(f"port {self.port} takes no connections") from error

    async def get(self, path: str, *, seconds: float, limit: int) -> tuple[int, bytes]:
        async with _bounded(path, seconds):
            return await _ask(await self.dial(), path, limit)


async def _connected(sock: socket.socket, address: tuple[str, int]) -> socket.socket:
    """Connect, or close it and raise OSError, TimeoutError."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):  # a full backlog: the kernel would try for minutes
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.asynccontextmanager
async def _bounded(path: str, seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise UpstreamUnreachable(f"no answer to {path or 'a connection'} within {seconds:g} s") from None
    except OSError as error:
        raise UpstreamUnreachable(f"the connection broke ({type(error).__name__})") from error


async def _ask(sock: socket.socket, path: str, limit: int) -> tuple[int, bytes]:
    """Ask one question over a connected socket, which is closed."""
    if not path:
        sock.close()
        return 200, b""
    # Read by the stream's own rules: one request, connection closed by the other side at the end.
    try:
        reader, writer = await asyncio.open_connection(sock=sock, limit=limit + 65536)
    except BaseException:
        sock.close()
        raise
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(limit + 4096)
        while len(answer) <= limit + 4096 and (more := await reader.read(limit + 4096)):
            answer += more
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return _parse(answer, limit)


@dataclass(frozen=True, slots=True)
class AsgiEndpoint:
    """A trusted plugin in this process: `app` serves requests, `probe(path)` answers (status, body)."""

    app: Callable[..., Awaitable[None]]
    probe: Callable[[str], Awaitable[tuple[int, bytes]]] = field(compare=False)

    async def get(self, path: str, *, seconds: float, limit: int) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(seconds):
                status, body = await self.probe(path)
        except TimeoutError:
            raise UpstreamUnreachable(f"no answer to {path} within {seconds:g} s") from None
        return status, body[:limit]


def _connect_in(sock: socket.socket, name: str, directory: int) -> None:
    """Connect to the socket in an open directory, and close the directory."""
    try:
        opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            if not stat.S_ISSOCK(os.fstat(opened).st_mode):
                raise UpstreamIdentity("the sandbox put something else where its socket should be")
            # A full backlog gives EAGAIN: a failed dial, never a half-open connection.
            sock.connect(f"/proc/self/fd/{opened}")
        finally:
            os.close(opened)
    finally:
        os.close(directory)


def _peer_pid(sock: socket.socket) -> int:
    """Give the process that called listen(2), by SO_PEERCRED (unix(7)); 0 when it is of another pid namespace."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], "little", signed=True)


def _parse(answer: bytes, limit: int) -> tuple[int, bytes]:
    head, separator, body = answer.partition(b"\r\n\r\n")
    parts = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if (
        not separator
        or len(parts) < 2
        or not parts[0].startswith(b"HTTP/1.")
        or not _STATUS.fullmatch(parts[1])
    ):
        raise UpstreamInvalid("the answer to a probe is not HTTP")
    return int(parts[1]), body[:limit]
