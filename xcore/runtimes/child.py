"""One plugin as a child process of ours: started bounded, its output kept, its end understood, nothing left of it.

Everything happens on the event loop that starts it: the kernel ties a parent-death signal to the *thread* that
forked. The child is reaped last of all, so that its pid stands for it, and for nobody else, until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xcore.clock import Clock, sleep
from xcore.endpoint import SOCKET_NAME, UnixEndpoint
from xcore.errors import WorkloadRejected
from xcore.runtimes import procfs
from xcore.runtimes.cgroup import Cgroup
from xcore.runtimes.logring import LogRing
from xcore.runtimes.reach import ROOT
from xcore.runtimes.told import plugin_spec
from xcore.workload import Exit, ExitReason, Instance, Workload

PATH = "/usr/local/bin:/usr/bin:/bin"
OOM_PERIOD = 1.0
PIPE_BYTES = 2**20
# Reads of a flood are this far apart, seconds: it costs the loop a few copies, never its attention.
READ_PAUSE = 0.01
DRAIN_SECONDS = 1.0
# 16 action threads of the usual 8 MiB would be all of RLIMIT_DATA's 128 MiB.
STACK_BYTES = 2 * 2**20
# Installed, our packages are found anyway; named first, what is installed beside them would hide packed dependencies.
_OURS = "" if ROOT.name in {"site-packages", "dist-packages"} else str(ROOT)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a child lives: its id, its directory, the uid nobody else has (None: our own), its control group."""

    id: str
    directory: Path
    uid: int | None
    group: Cgroup
    enforced: frozenset[str]  # the controllers of the group
    calls: Path | None = None  # where it finds the socket by which it calls others

    @property
    def tmp(self) -> Path:
        return self.directory / "tmp"

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"


class Child:
    """Running from its making on; `ended` is set when nothing of it runs any more and `exit` is known."""

    def __init__(
        self, workload: Workload, place: Place, *, clock: Clock, changed: Callable[[str], None]
    ) -> None:
        self._workload, self._place, self._clock, self._changed = workload, place, clock, changed
        self.log = LogRing(place.id)
        self.ended = asyncio.Event()
        self.exit: Exit | None = None
        self.oom = False
        self._process = _spawn(workload, place)
        self.pid = self._process.pid
        self._started_at = clock.time()
        self._endpoint = UnixEndpoint(place.directory, self.belongs)
        self._pump = asyncio.create_task(self._read_output())
        self._tasks = [asyncio.create_task(self._until_end()), asyncio.create_task(self._watch_memory())]

    def instance(self) -> Instance:
        return Instance(
            id=self._place.id,
            plugin=self._workload.name,
            revision=self._workload.revision,
            generation=self._workload.generation,
            started_at=self._started_at,
            endpoint=self._endpoint,
            exit=self.exit,
            oom=self.oom,
        )

    def belongs(self, pid: int) -> bool:
        """Tell whether a living process is of this instance."""
        return (
            procfs.session(pid) == self.pid
            or procfs.in_cgroup(pid, self._place.id)
            or (self._place.uid is not None and procfs.uid(pid) == self._place.uid)
        )

    async def stop(self, grace: float) -> None:
        """Ask, then kill; returns when nothing of it runs any more."""
        if not self.ended.is_set():
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self.ended.wait()
        await self.kill()

    async def kill(self) -> None:
        if not self.ended.is_set():
            self._signal(signal.SIGKILL)
        await self.ended.wait()

    def close(self) -> None:
        """Let go of what is left when it has ended."""
        for task in (self._pump, *self._tasks):
            task.cancel()

    def _signal(self, number: signal.Signals) -> None:
        # Not reaped before `ended`: the group's number is still its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def _until_end(self) -> None:
        held = os.pidfd_open(self.pid)
        try:
            await _readable(held)
        finally:
            os.close(held)
        await self._sweep()
        await asyncio.wait({self._pump}, timeout=DRAIN_SECONDS)
        self.log.close()
        code = self._process.wait()
        self.oom = self.oom or self._place.group.oom_kills() > 0
        self._place.group.remove()
        self.exit = _exit(code, self._clock.time(), oom=self.oom)
        self.ended.set()
        self._changed(self._workload.name)

    async def _sweep(self) -> None:
        """End what outlives the main process: a sandbox is over when that is."""
        pause = 0.01
        while left := await asyncio.to_thread(self._leftovers):
            self._place.group.kill()
            for pid in left:
                procfs.kill(pid, self.belongs)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _leftovers(self) -> list[int]:
        return [pid for pid in procfs.pids() if pid != self.pid and self._living(pid)]

    def _living(self, pid: int) -> bool:
        return procfs.session(pid) is not None and self.belongs(pid)

    async def _watch_memory(self) -> None:
        """A forked child killed for memory leaves the plugin alive and not well: somebody has to look."""
        while not self.ended.is_set():
            if not self.oom and self._place.group.oom_kills() > 0:
                self.oom = True
                self._changed(self._workload.name)
            await sleep(self._clock, OOM_PERIOD)

    async def _read_output(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while True:
                await _readable(stream.fileno())
                piece = os.read(stream.fileno(), PIPE_BYTES)
                if not piece:
                    return
                self.log.put(piece)
                await asyncio.sleep(READ_PAUSE)


def _spawn(workload: Workload, place: Place) -> subprocess.Popen[bytes]:
    """Start the launcher, move it into its group, let it go; raises WorkloadRejected with nothing left running."""
    told = {
        "parent": os.getpid(),
        "uid": os.getuid() if place.uid is None else place.uid,
        "limits": _limits(workload, place),
    }
    try:
        process = subprocess.Popen(  # noqa: S603  no shell
            [sys.executable, "-P", "-m", "sandbox_image.launch", json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd="/",
            env=environment(workload, place),
            start_new_session=True,
            user=place.uid,
            group=place.uid,
            extra_groups=None if place.uid is None else [],
        )
    except OSError as error:
        raise WorkloadRejected(f"the child process could not be started: {error.strerror}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        with process.stdin as go:
            place.group.join(process.pid)
            go.write(b"\n")
    except OSError as error:
        process.kill()
        process.wait()
        process.stdout.close()
        raise WorkloadRejected(f"the child process could not be bounded: {error.strerror}") from error
    return process


def environment(workload: Workload, place: Place) -> dict[str, str]:
    """All of the child's environment: what the manifest declares and what the runner needs, nothing of ours."""
    declared = {item.name: item.value for item in workload.manifest.spec.env}
    fixed = {
        "HOME": str(place.tmp),
        "TMPDIR": str(place.tmp),
        "LANG": "C.UTF-8",
        "PATH": PATH,
        "PYTHONDONTWRITEBYTECODE": "1",  # a snapshot is never changed, not even by its own import
        "PYTHONPATH": ":".join(filter(None, (_OURS, declared.get("PYTHONPATH")))),
        "PLUGIN_PATH": str(workload.code),
        "PLUGIN_SOCKET": str(place.directory / SOCKET_NAME),
        "PLUGIN_SECRETS": str(place.secrets),
        "PLUGIN_SPEC": plugin_spec(workload),
    }
    if workload.site is not None:
        fixed["PLUGIN_SITE"] = str(workload.site)
    if place.calls is not None:
        fixed["PLUGIN_CALLS"] = str(place.calls)
    return {"OMP_NUM_THREADS": "1", **declared, **fixed}


def _limits(workload: Workload, place: Place) -> dict[str, int]:
    resources = workload.manifest.spec.resources
    limits = {"NOFILE": 1024, "CORE": 0, "MEMLOCK": 65536, "FSIZE": resources.tmp_bytes}
    if "memory" not in place.enforced:
        limits |= {"DATA": resources.memory_bytes, "STACK": STACK_BYTES}
    if "pids" not in place.enforced and place.uid is not None:
        limits["NPROC"] = resources.pids_limit  # counts per user: only a user of its own can be bounded so
    return limits


def _exit(code: int, at: float, *, oom: bool) -> Exit:
    """`code` as subprocess tells it: negative for a signal."""
    shell = code if code >= 0 else 128 - code
    if oom:
        return Exit(ExitReason.OutOfMemory, shell, at)
    if code < 0:
        return Exit(ExitReason.Signal, shell, at)
    return Exit(ExitReason.Completed if code == 0 else ExitReason.Error, shell, at)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
