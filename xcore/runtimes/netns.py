"""Sockets made inside a sandbox's network namespace (network_namespaces(7), setns(2)), by a thread that goes there.

A socket stays in the namespace it was made in, so it is then used from the event loop like any other. Only the one
thread here ever changes its namespace; each job enters first, and one that does not find home again harms nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from xcore.errors import UpstreamIdentity, UpstreamUnreachable
from xcore.runtimes import procfs

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_HOME = "/proc/self/ns/net"
# Documentation addresses (RFC 5737, RFC 3849). To connect a datagram socket asks for a route and sends nothing.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EHOSTUNREACH})


class Namespaces:
    """The thread that visits. Close it when no endpoint is dialled any more."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="netns")

    async def permitted(self) -> bool:
        """Tell whether this process may visit at all: it takes CAP_SYS_ADMIN."""
        try:
            await self.run(_go_home)
        except PermissionError:
            return False
        return True

    async def run(self, job: Callable[[], T]) -> T:
        try:
            future = self._thread.submit(job)
        except RuntimeError as error:
            raise UpstreamUnreachable("the controller is letting go of its sandboxes") from error
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(_discard)
            raise

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Namespace:
    """That of one container, found through its first process."""

    container: str
    pid: int = field(compare=False)
    visits: Namespaces = field(compare=False)

    async def socket(self, family: int) -> socket.socket:
        """Make a non-blocking TCP socket in there; raises UpstreamUnreachable, UpstreamIdentity."""
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        return await self.visits.run(lambda: self._visit(lambda: socket.socket(family, kind)))

    async def prove(self) -> None:
        """Raise UpstreamIdentity unless nothing but loopback is in there, and no way leads out."""
        await self.visits.run(lambda: self._visit(_prove))

    def _visit(self, job: Callable[[], T]) -> T:
        try:
            there = self._open()
        except OSError as error:
            raise UpstreamUnreachable(f"the sandbox's network cannot be entered: {error.strerror}") from error
        try:
            _enter(there)
            return job()
        except OSError as error:
            raise UpstreamUnreachable(f"the sandbox's network cannot be used: {error.strerror}") from error
        finally:
            os.close(there)
            _go_home()

    def _open(self) -> int:
        """Open it, and only then ask whose it is: while its first process lives, nobody else has that pid."""
        there = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._recognise(os.fstat(there))
        except BaseException:
            os.close(there)
            raise
        return there

    def _recognise(self, there: os.stat_result) -> None:
        if not procfs.in_cgroup(self.pid, self.container):
            raise FileNotFoundError(errno.ESRCH, "the sandbox has ended")
        if os.path.samestat(there, Path(_HOME).stat()):
            raise UpstreamIdentity("the sandbox shares the host's network")


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _go_home() -> None:
    """Enter the namespace of the process, which is that of its first thread, whatever became of this one."""
    home = os.open(_HOME, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(home)
    finally:
        os.close(home)


def _prove() -> None:
    devices = {name for _, name in socket.if_nameindex()}
    if devices != {"lo"}:
        raise UpstreamIdentity(
            f"the sandbox has network devices beside loopback: {', '.join(sorted(devices - {'lo'}))}"
        )
    for family, address in _ELSEWHERE:
        if _has_route(family, address):
            raise UpstreamIdentity(f"the sandbox has a route to {address}: its network is not cut off")


def _has_route(family: int, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))
    except OSError as error:
        if error.errno in _NO_ROUTE:
            return False
        raise
    return True


def _discard(future: Future[Any]) -> None:
    """Close a socket that nobody waits for any more."""
    with contextlib.suppress(BaseException):
        made = future.result()
        if isinstance(made, socket.socket):
            made.close()
