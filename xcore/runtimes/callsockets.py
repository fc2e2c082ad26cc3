"""Where plugins call others from: a unix socket of the controller's own for each instance whose manifest has `calls`.

    <directory>/<name>/c.sock   the controller listens; the instance connects
    <directory>/<name>/token    256 bits that prove who calls, as text

An instance gets its directory read-only, and no way to any other: it cannot take the listener's place, and a token it
has learnt of somebody else is worth nothing at its own socket. Files outlive a controller, for the instances it leaves
do: the next one listens anew in the same directory. Bounded: CONNECTIONS of an instance at once, BACKLOG more wait,
and the next is refused by the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from xcore.errors import Problem, WorkloadRejected
from xcore.manifest import Manifest
from xcore.plugin.calling import CALL_SOCKET, CALL_TOKEN, SocketCalls

CONNECTIONS = 64
BACKLOG = 64
MAX_SOCKET_PATH = 107  # sun_path of unix(7), without its closing NUL
_TOKEN_BYTES = 32
_AGAIN_SECONDS = 1.0  # after the process had no descriptor left
_log = logging.getLogger("xcore.calls")


@dataclass(eq=False, slots=True)
class Caller:
    """One instance that may call. `token`: what proves it at its socket; empty once it has gone, and for a pod. `busy`: its calls under way."""

    plugin: str
    instance: str
    token: str = ""
    busy: int = 0


# (token, address it comes from) → who calls, at once or in a moment; None: nobody who may. Raises RuntimeUnavailable.
Identify = Callable[[bytes, str], Caller | Awaitable[Caller | None] | None]
# (caller, gone) → the protocol that answers one connection of it, and calls `gone` once when that has ended.
Answer = Callable[[Caller, Callable[[], None]], asyncio.Protocol]


class CallSockets:
    """Those of all instances of a controller. `start`, `close` and `plug` on the event loop's thread; the rest from any, and it blocks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._lines: dict[str, _Line] = {}
        self._answer: Answer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, answer: Answer) -> None:
        """Answer from now on; who connected before has waited in the backlog. Once is enough."""
        if self._answer is not None:
            return
        self._loop, self._answer = asyncio.get_running_loop(), answer
        for line in list(self._lines.values()):
            line.serve(self._loop, answer)

    def close(self) -> None:
        """Stop listening. The files stay, for instances that are left to the next controller."""
        for line in list(self._lines.values()):
            line.close()
        self._lines.clear()

    def plug(self, plugin: str, instance: str) -> SocketCalls:
        """Give an instance in this very process its way: nothing of it is a file."""
        caller = Caller(plugin, instance, secrets.token_hex(_TOKEN_BYTES))
        line = self._lines[instance] = _Line(caller, None)
        if self._loop is not None and self._answer is not None:
            line.serve(self._loop, self._answer)
        return SocketCalls(line.dial, lambda: caller.token)

    def unplug(self, instance: str) -> None:
        line = self._lines.pop(instance, None)
        if line is not None:
            line.close()

    def caller(self, name: str) -> Caller | None:
        line = self._lines.get(name)
        return line.caller if line is not None else None

    def connections(self, name: str) -> int:
        line = self._lines.get(name)
        return line.connections if line is not None else 0

    # -- blocking, from any thread ------------------------------------------------------------------------------

    def give(self, name: str, *, group: int | None, pass_through: bool = False) -> Path:
        """Make an instance's directory with its token; raises WorkloadRejected.

        `group`: the gid that may read and connect, for a controller that is root; None: whoever gets as far as the
        directory. `pass_through`: sandboxes reach theirs from outside, not by a mount.
        """
        made = self._directory / name
        if len(bytes(made / CALL_SOCKET)) > MAX_SOCKET_PATH:
            raise WorkloadRejected(
                "the state directory's path is too long for a unix socket:"
                f" at most {MAX_SOCKET_PATH - len(f'/calls/{name}/{CALL_SOCKET}')} bytes"
            )
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            if pass_through:
                self._directory.chmod(0o711)
            made.mkdir(mode=0o700)
            token = made / CALL_TOKEN
            token.touch(mode=0o600)
            token.write_text(secrets.token_hex(_TOKEN_BYTES), "ascii")
            _open_to(token, group, 0o440)
            _open_to(made, group, 0o750)
        except OSError as error:
            self.take_back(name)
            raise WorkloadRejected(f"the state directory cannot be written: {error.strerror}") from error
        return made

    def listen(self, name: str, *, plugin: str, instance: str) -> None:
        """Listen in a directory that was given: for an instance about to start, or one that is adopted."""
        directory = self._directory / name
        if (known := self.caller(name)) is not None and known.instance == instance:
            return
        try:
            caller = Caller(plugin, instance, (directory / CALL_TOKEN).read_text("ascii"))
            line = _Line(caller, _bound(directory))
        except OSError as error:
            raise WorkloadRejected(f"the state directory cannot be written: {error.strerror}") from error
        self._lines[name] = line
        # Read after the line was put there: either this sees `start`, or `start` sees the line.
        if self._loop is not None and self._answer is not None:
            self._loop.call_soon_threadsafe(line.serve, self._loop, self._answer)

    def take_back(self, name: str) -> None:
        """Let nobody call by it any more, and remove its files."""
        line = self._lines.pop(name, None)
        if line is not None:
            self._end(line)
        shutil.rmtree(self._directory / name, ignore_errors=True)

    def ended(self, instance: str) -> None:
        """Take back what an instance was given, known by its own name."""
        for name, line in list(self._lines.items()):
            if line.caller.instance == instance:
                self.take_back(name)

    def sweep(self, names: frozenset[str]) -> None:
        """Take back what was given to any other than these."""
        if self._directory.is_dir():
            for left in self._directory.iterdir():
                if left.name not in names:
                    self.take_back(left.name)

    def _end(self, line: _Line) -> None:
        if self._loop is None:
            line.close()
        else:
            self._loop.call_soon_threadsafe(line.close)


def unanswered(manifest: Manifest, calls: CallSockets | None) -> list[Problem]:
    """Refuse a plugin that calls others where nobody would answer: an engine without a controller around it."""
    if manifest.spec.calls and calls is None:
        return [Problem("spec.calls", "must be absent: plugins call each other through a controller")]
    return []


class _Line:
    """One instance's connections to the controller."""

    def __init__(self, caller: Caller, listener: socket.socket | None) -> None:
        self.caller, self._listener = caller, listener
        self._loop: asyncio.AbstractEventLoop | None = None
        self.connections = 0
        self._taking: set[asyncio.Task[None]] = set()
        self._taken: set[asyncio.Transport] = set()

    def serve(self, loop: asyncio.AbstractEventLoop, answer: Answer) -> None:
        if self._loop is None:
            self._loop, self._answer = loop, answer
            self._listen()

    def close(self) -> None:
        """Nobody calls by it any more, not on a connection there is either."""
        self.caller.token = ""
        for transport in self._taken:
            transport.abort()
        self._pause()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def dial(self, call: str) -> tuple[socket.socket, str]:
        """Give the near end of a new connection, on whatever loop it is asked for; raises BlockingIOError."""
        loop = self._loop
        if loop is None or not self.caller.token or self.connections >= CONNECTIONS:
            raise BlockingIOError
        near, far = socket.socketpair()
        for end in (near, far):
            end.setblocking(False)  # noqa: FBT003  its signature
        loop.call_soon_threadsafe(self._take, far)
        return near, call

    def _listen(self) -> None:
        if self._listener is not None and self._loop is not None and self.connections < CONNECTIONS:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _pause(self) -> None:
        if self._listener is not None and self._loop is not None:
            self._loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        assert self._listener is not None
        assert self._loop is not None
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            _log.warning("a call of %s cannot be accepted: %s", self.caller.plugin, error.strerror)
            self._pause()
            self._loop.call_later(_AGAIN_SECONDS, self._listen)
            return
        accepted.setblocking(False)  # noqa: FBT003  its signature
        self._take(accepted)

    def _take(self, accepted: socket.socket) -> None:
        assert self._loop is not None
        self.connections += 1
        if self.connections >= CONNECTIONS:
            self._pause()
        task = self._loop.create_task(self._attend(self._loop, accepted))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _attend(self, loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> None:
        try:
            taken, _ = await loop.connect_accepted_socket(
                lambda: self._answer(self.caller, self._gone), accepted
            )
        except OSError:  # it hung up at once
            accepted.close()
            self._gone()
        else:
            self._taken.add(taken)

    def _gone(self) -> None:
        self.connections -= 1
        self._taken = {transport for transport in self._taken if not transport.is_closing()}
        self._listen()


def _bound(directory: Path) -> socket.socket:
    """Listen in a directory, in place of an earlier controller; who may enter the directory may connect."""
    path, inside = directory / CALL_SOCKET, directory.stat()
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.bind(str(path))
        os.chown(path, -1, inside.st_gid)
        path.chmod(0o666 if inside.st_mode & 0o001 else 0o660)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _open_to(path: Path, group: int | None, mode: int) -> None:
    """Let the group in, and nobody else; where there is none of its own, everybody who gets that far."""
    if group is None:
        path.chmod(mode | (mode & 0o070) >> 3)
    else:
        os.chown(path, -1, group)
        path.chmod(mode)
