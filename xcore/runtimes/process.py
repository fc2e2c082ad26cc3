"""The `process` engine: each instance a child process of the controller, for development and where no container
engine answers.

It contains faults (a crash, a hang, memory, a fork bomb), not attackers: a child shares the host's files, network and
kernel, so this never claims isolation. Run by root, every instance gets a user of its own, or is refused; never
root. Children die with the controller, so nothing is adopted; what a killed one left behind is ended by the next
`open`. One controller per state directory.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xcore.clock import Clock, SystemClock
from xcore.endpoint import SOCKET_NAME
from xcore.errors import NotSupported, Problem, WorkloadRejected
from xcore.manifest import Manifest, beyond_one_machine
from xcore.packing.target import here
from xcore.runtimes import procfs, reach
from xcore.runtimes.callsockets import MAX_SOCKET_PATH, CallSockets, unanswered
from xcore.runtimes.cgroup import Cgroup, Cgroups, Limits
from xcore.runtimes.child import Child, Place
from xcore.runtimes.handed import ReadSecrets, hand_over, no_secrets
from xcore.runtimes.hints import Hints
from xcore.runtimes.told import may_call
from xcore.runtimes.uids import UIDS, pick
from xcore.workload import Instance, LogLine, Workload

CLOSING_GRACE = 5.0
_log = logging.getLogger("xcore.process")


class ProcessEngine:
    """See `Engine`. Socket directories are `<state_dir>/run/<instance>`; control groups bear the state directory's hash."""

    def __init__(
        self,
        *,
        state_dir: Path,
        read_secrets: ReadSecrets = no_secrets,
        calls: CallSockets | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._run = state_dir.resolve() / "run"
        self._read_secrets, self._clock = read_secrets, clock or SystemClock()
        self._calls = calls
        self._groups = Cgroups.here(hashlib.sha256(bytes(self._run)).hexdigest()[:8])
        self._children: dict[str, tuple[Child, Place]] = {}
        self._reserved: set[int] = set()
        self._hints = Hints()

    def name(self, workload: Workload | None) -> str:  # noqa: ARG002  all alike here
        return "process"

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:  # noqa: ARG002  all alike here
        return (
            "False",
            "NotEnforced",
            "the process runtime isolates faults, not attackers; use it for development",
        )

    def image(self, workload: Workload | None) -> str:  # noqa: ARG002  all alike here
        return ""

    target = here()

    @property
    def enforced(self) -> frozenset[str]:
        """Which of memory, pids and cpu are bounded by control groups; known after `open`."""
        return self._groups.controllers

    async def open(self) -> None:
        await asyncio.to_thread(self._open)
        if "memory" not in self.enforced:
            _log.warning(
                "no control groups can be written here: memory is bounded by rlimits, cpu not at all"
            )

    def check(self, manifest: Manifest) -> Sequence[Problem]:
        if problems := [*beyond_one_machine(manifest), *unanswered(manifest, self._calls)]:
            return problems
        if manifest.spec.source.image is not None:
            return [Problem("spec.source.image", "needs the docker runtime: a child process has no image")]
        if manifest.spec.runtime_class is not None:
            return [Problem("spec.runtimeClass", "must be absent: the process runtime has no other kernel")]
        return []

    async def pin(self, image: str, say: Callable[[str], None]) -> str:  # noqa: ARG002
        raise NotSupported(f"the process runtime runs no images, and so not {image}")

    async def start(self, workload: Workload) -> Instance:
        uid = await asyncio.to_thread(self._free_uid) if os.geteuid() == 0 else None
        try:
            child, place = self._start(workload, secrets.token_hex(6), uid)
        finally:
            self._reserved.discard(uid or 0)
        self._children[place.id] = (child, place)
        return child.instance()

    async def stop(self, instance: Instance, *, grace: float) -> None:
        found = self._children.get(instance.id)
        if found is not None:
            await found[0].stop(grace)
            if self._calls is not None:
                await asyncio.to_thread(self._calls.take_back, instance.id)

    async def remove(self, instance: Instance) -> None:
        found = self._children.get(instance.id)
        if found is None:
            return
        child, place = found
        await child.kill()
        await asyncio.to_thread(self._clear, place)
        child.close()
        self._children.pop(instance.id, None)

    async def list(self, plugin: str | None = None) -> Sequence[Instance]:
        instances = [child.instance() for child, _ in self._children.values()]
        return [i for i in instances if plugin is None or i.plugin == plugin]

    def watch(self) -> AsyncIterator[str]:
        return self._hints.follow()

    async def logs(self, instance: Instance, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        found = self._children.get(instance.id)
        if found is not None:
            async for line in found[0].log.read(lines=lines, follow=follow):
                yield line

    async def aclose(self) -> None:
        """End all children: nobody could adopt them."""
        instances = await self.list()
        await asyncio.gather(*(self.stop(i, grace=CLOSING_GRACE) for i in instances))
        await asyncio.gather(*(self.remove(i) for i in instances))
        self._groups.close()

    # -- blocking -----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._run.mkdir(parents=True, exist_ok=True, mode=0o711)
        # A child passes through to its own directory; what the others are called it cannot see.
        self._run.chmod(0o711)
        self._groups.open()
        for directory in self._run.iterdir():
            ours = functools.partial(procfs.was_started_with, text=bytes(directory / SOCKET_NAME))
            for pid in filter(ours, procfs.pids()):
                procfs.kill(pid, ours)
            _clear(directory)
        if self._calls is not None:
            self._calls.sweep(frozenset())

    def _start(self, workload: Workload, instance: str, uid: int | None) -> tuple[Child, Place]:
        directory = self._run / instance
        if len(bytes(directory / SOCKET_NAME)) > MAX_SOCKET_PATH:
            raise WorkloadRejected(
                f"the state directory's path is too long for a unix socket:"
                f" at most {MAX_SOCKET_PATH - len(f'/run/{instance}/{SOCKET_NAME}')} bytes"
            )
        if uid is not None:
            reach.require(workload.directories, self._run)
        group = self._make_group(workload, instance)
        place = Place(instance, directory, uid, group, self.enforced)
        try:
            place = replace(place, calls=self._calls_of(workload, place))
            _make_directories(place, self._read_secrets(workload.manifest.spec.secrets))
            child = Child(workload, place, clock=self._clock, changed=self._hints.give)
        except (OSError, WorkloadRejected) as error:
            group.remove()
            self._clear(place)
            if isinstance(error, OSError):
                raise WorkloadRejected(f"the state directory cannot be written: {error.strerror}") from error
            raise
        return child, place

    def _calls_of(self, workload: Workload, place: Place) -> Path | None:
        if self._calls is None or not may_call(workload):
            return None
        given = self._calls.give(place.id, group=place.uid, pass_through=place.uid is not None)
        self._calls.listen(place.id, plugin=workload.name, instance=place.id)
        return given

    def _clear(self, place: Place) -> None:
        _clear(place.directory)
        if self._calls is not None:
            self._calls.take_back(place.id)

    def _make_group(self, workload: Workload, instance: str) -> Cgroup:
        resources = workload.manifest.spec.resources
        limits = Limits(resources.memory_bytes, resources.pids_limit, resources.cpu_cores)
        try:
            return self._groups.create(instance, limits)
        except OSError as error:
            raise WorkloadRejected(f"a control group cannot be made: {error.strerror}") from error

    def _free_uid(self) -> int:
        """Pick a uid that nobody's process has (a container's shows here too)."""
        taken = {procfs.uid(pid) for pid in procfs.pids()} | self._reserved
        taken |= {place.uid for _, place in self._children.values()}
        uid = pick(UIDS, taken)
        self._reserved.add(uid)
        return uid


def _make_directories(place: Place, secrets: Mapping[str, bytes]) -> None:
    owner = None if place.uid is None else (place.uid, place.uid)
    for directory in (place.directory, place.tmp):
        directory.mkdir(mode=0o700)
        directory.chmod(0o700)  # whatever the umask took away
    hand_over(secrets, place.secrets, owner=owner)
    # The outer one last: before that nobody but us can reach into it.
    for directory in (place.tmp, place.directory):
        if place.uid is not None:
            os.chown(directory, place.uid, place.uid)


def _clear(directory: Path) -> None:
    """Remove a directory the plugin could write. rmtree follows no links; too deep or odd a tree is left and told."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except (OSError, RecursionError) as error:
        _log.warning("the files of an instance could not be removed: %s", type(error).__name__)
