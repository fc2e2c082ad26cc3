"""Runs uv as a child process: bounded in time and room, stopped when nobody waits any more, its words made a sentence.

Wheels only, and nothing of them is executed. Where packages come from is uv's own configuration (`UV_INDEX_URL`,
`uv.toml`): no address, no credential and no path of it is ever repeated.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from uv import find_uv_bin

from xcore.errors import (
    DependenciesUnresolved,
    IndexUnavailable,
    InvalidBundle,
    InvalidSpec,
    StorageFull,
    XcoreError,
)

SECONDS = 600.0
MAX_FILE = 512 * 2**20
# Left free on the disk: a package that unpacks without end must not fill it.
ROOM_BYTES = 256 * 2**20
_LOOK_SECONDS = 0.05
_LONGEST = 800
_COMMON = ("--only-binary", ":all:", "--color", "never", "--no-progress", "--no-python-downloads")
# What uv says, and what it means where another sentence is clearer than its own. Of its network another attempt may
# find the opposite.
_FULL = re.compile(r"os error (28|122)")
_OTHER_HASH = re.compile(r"hash mismatch", re.IGNORECASE)
_AWAY = re.compile(
    r"error sending request|failed to fetch|request failed|timed out|not found in the cache"
    r"|network connectivity is disabled|network was disabled|status (client|server) error",
    re.IGNORECASE,
)
_MEANINGS: tuple[tuple[re.Pattern[str], type[XcoreError], str], ...] = (
    (_FULL, StorageFull, "no room to fetch or unpack the dependencies"),
    (
        _OTHER_HASH,
        InvalidBundle,
        "a package has another hash than the lock says: run `xcore pack --upgrade DIR`",
    ),
    (_AWAY, IndexUnavailable, "the package index cannot be reached, and not all packages are in uv's cache"),
)
_HIDDEN = re.compile(r"`?\w+://\S+|(?<![\w.])/\S+|\{[^}]*\}")


class Cancelled(Exception):
    """Nobody waits for it any more."""


class Job:
    """One piece of work: who hears of its progress, when it has to be done, whether anybody still waits."""

    def __init__(self, say: Callable[[str], None], *, seconds: float = SECONDS) -> None:
        self._say, self._said = say, ""
        self._seconds, self._until = seconds, time.monotonic() + seconds
        self._cancelled = threading.Event()

    def say(self, progress: str) -> None:
        if progress != self._said:
            self._said = progress
            self._say(progress)

    def cancel(self) -> None:
        self._cancelled.set()

    def go_on(self, *, after: float = 0.0) -> None:
        """Wait a little; raise Cancelled, or IndexUnavailable when the time is over."""
        if self._cancelled.wait(after):
            raise Cancelled
        if time.monotonic() > self._until:
            raise IndexUnavailable(f"the dependencies were not packed within {self._seconds:g} s")


def run(
    job: Job, *arguments: str, cwd: Path, stdin: str = "", provided: Mapping[str, str] | None = None
) -> str:
    """Run uv in a directory of its own and return what it printed; raises what its complaint means."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write(stdin.encode())
        given.seek(0)
        with _started([*arguments, *_COMMON], cwd, (given.fileno(), out.fileno(), err.fileno())) as process:
            while process.poll() is None:
                job.go_on(after=_LOOK_SECONDS)
                _leave_room(cwd)
                _tell(job, _text(err.fileno()))
        if process.returncode != 0:
            raise explain(process.returncode, _text(err.fileno()), provided or {})
        warned = re.search(r"^warning: (`[^`]+` is yanked.*)$", _text(err.fileno()), re.MULTILINE)
        if warned is not None and arguments[1] == "compile":
            raise DependenciesUnresolved(_plain(warned[1]))
        return _text(out.fileno())


@contextlib.contextmanager
def _started(
    arguments: list[str], cwd: Path, streams: tuple[int, int, int]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start uv; nothing of it runs when the block is left."""
    try:
        process = subprocess.Popen(  # noqa: S603  no shell
            [find_uv_bin(), *arguments],
            cwd=cwd,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            start_new_session=True,  # a Ctrl-C at the terminal is ours to hand on
        )
    except OSError as error:
        raise XcoreError("uv cannot be run: install xcore-platform[server]") from error
    try:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def explain(code: int, said: str, provided: Mapping[str, str]) -> XcoreError:
    """Make an error of what uv wrote to stderr. Pure."""
    if code == -signal.SIGXFSZ:
        return InvalidBundle(f"a package holds a file larger than {MAX_FILE // 2**20} MiB")
    for sign, error, detail in _MEANINGS:
        if sign.search(said):
            return error(detail)
    sentence = _sentence(said)
    if "Couldn't parse requirement" in said:
        return InvalidSpec(f"spec.dependencies cannot be read: {sentence}")
    if "No solution found" not in said:
        return InvalidBundle(f"the dependencies cannot be packed: {sentence}")
    inside = [f"{name} {version}" for name, version in provided.items() if f"{name}==" in said]
    told = f" The sandbox itself has {', '.join(inside)}: no other version can be packed." if inside else ""
    return DependenciesUnresolved(sentence + told)


def _sentence(said: str) -> str:
    """The causes uv names (else its one error), as running text; without its hints, and lines that point at a place."""
    words = re.split(r"^hint:", said, maxsplit=1, flags=re.MULTILINE)[0]
    found = words.partition("cause: ")[2] or words.rpartition("error: ")[2]
    lines = (line.strip().removeprefix("cause: ") for line in found.splitlines())
    return _plain(" ".join(line for line in lines if set(line) != {"^"}))


def _plain(text: str) -> str:
    words = " ".join(_HIDDEN.sub("", text).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _tell(job: Job, said: str) -> None:
    """Pass on the last thing uv did that a person may wait for."""
    steps = [line.strip() for line in said.splitlines() if re.match(r" ?Download|Prepared|Resolved", line)]
    if steps:
        job.say(steps[-1][0].lower() + steps[-1][1:])


def _leave_room(directory: Path) -> None:
    if shutil.disk_usage(directory).free < ROOM_BYTES:
        raise StorageFull(f"less than {ROOM_BYTES // 2**20} MiB are left where the dependencies are unpacked")


def _text(descriptor: int) -> str:
    return os.pread(descriptor, 2**22, 0).decode(errors="replace")
