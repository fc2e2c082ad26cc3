"""Control groups for child processes: memory, pids and cpu, on v1 and v2, wherever this process may write them.

A group is `xcore/<owner>/<instance>` below the mount of each hierarchy. What cannot be written is left out and told
(`Cgroups.controllers`), never pretended. Only groups below our owner's folder are ever touched. cgroups(7); Linux
documentation, admin-guide/cgroup-v1/memory and admin-guide/cgroup-v2.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xcore.runtimes import procfs

PERIOD_US = 100_000
MIN_QUOTA_US = 1_000  # the kernel refuses less
CONTROLLERS = ("memory", "pids", "cpu")
_log = logging.getLogger("xcore.cgroup")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one instance may use at most."""

    memory_bytes: int
    pids: int
    cpu_cores: float


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted tree and which of the three controllers live in it."""

    version: int
    mount: Path
    controllers: tuple[str, ...]


def hierarchies(mounts: str, available: Mapping[Path, str] | None = None) -> list[Hierarchy]:
    """Read `/proc/self/mounts`. `available`: what `cgroup.controllers` holds in each v2 mount; read when absent."""
    found: list[Hierarchy] = []
    taken: set[str] = set()
    lines = [line.split(" ") for line in mounts.splitlines()]
    # v1 first: a controller that is bound there is not to be had in v2.
    for _, mount, kind, options, *_ in sorted(lines, key=lambda fields: fields[2]):
        if kind == "cgroup":
            names = options.split(",")
        elif kind == "cgroup2":
            names = _v2_controllers(Path(mount), available).split()
        else:
            continue
        mine = tuple(c for c in CONTROLLERS if c in names and c not in taken)
        if mine:
            taken.update(mine)
            found.append(Hierarchy(1 if kind == "cgroup" else 2, Path(mount), mine))
    return found


class Cgroups:
    """The groups of one owner."""

    def __init__(self, owner: str, found: list[Hierarchy]) -> None:
        self._owner, self._found = owner, found
        self._usable: list[Hierarchy] = []

    @classmethod
    def here(cls, owner: str) -> Cgroups:
        return cls(owner, hierarchies(Path("/proc/self/mounts").read_text("utf-8")))

    @property
    def controllers(self) -> frozenset[str]:
        """What is enforced: a subset of memory, pids and cpu."""
        return frozenset(c for h in self._usable for c in h.controllers)

    def open(self) -> None:
        """Make the owner's folders, and end what an earlier run of this owner left in them."""
        self._usable = [h for h in self._found if _prepare(h, self._owner)]
        for hierarchy in self._usable:
            for folder in self._folder(hierarchy).iterdir():
                if folder.is_dir():
                    _end(Cgroup([(hierarchy, folder)]))

    def create(self, name: str, limits: Limits) -> Cgroup:
        """Make a group with these limits; raises OSError with nothing left behind."""
        group = Cgroup([(h, self._folder(h) / name) for h in self._usable])
        try:
            group.make(limits)
        except OSError:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Remove the owner's folders where they are empty."""
        for hierarchy in self._usable:
            with contextlib.suppress(OSError):
                self._folder(hierarchy).rmdir()
                self._folder(hierarchy).parent.rmdir()

    def _folder(self, hierarchy: Hierarchy) -> Path:
        return hierarchy.mount / "xcore" / self._owner


class Cgroup:
    """One instance's group: a folder in each hierarchy. Nothing here raises once it is made."""

    def __init__(self, folders: list[tuple[Hierarchy, Path]]) -> None:
        self._folders = folders

    def make(self, limits: Limits) -> None:
        for hierarchy, folder in self._folders:
            folder.mkdir()
            for name, value in _settings(hierarchy, folder, limits):
                (folder / name).write_text(value, "ascii")

    def join(self, pid: int) -> None:
        """Move a process in; raises OSError."""
        for _, folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid), "ascii")

    def processes(self) -> set[int]:
        pids: set[int] = set()
        for _, folder in self._folders:
            pids.update(int(pid) for pid in _read(folder / "cgroup.procs").split())
        return pids

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for memory so far."""
        for hierarchy, folder in self._folders:
            if "memory" in hierarchy.controllers:
                name = "memory.oom_control" if hierarchy.version == 1 else "memory.events"
                return procfs.oom_count(_read(folder / name))
        return 0

    def kill(self) -> None:
        """SIGKILL to all of it. From then on nothing in it forks: a bomb dies faster than it grows."""
        for _, folder in self._folders:
            for name in ("pids.max", "cgroup.kill"):
                if (folder / name).exists():
                    with contextlib.suppress(OSError):
                        (folder / name).write_text("0" if name == "pids.max" else "1", "ascii")
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Remove it where it is empty."""
        for _, folder in self._folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                _log.warning("a control group could not be removed: %s", error.strerror)


def _end(group: Cgroup) -> None:
    """Kill what is in a group and wait for it, two seconds at most. Blocks."""
    for _ in range(100):
        group.kill()
        if not group.processes():
            break
        time.sleep(0.02)
    group.remove()


def _settings(hierarchy: Hierarchy, folder: Path, limits: Limits) -> list[tuple[str, str]]:
    """Files and what goes into them, in the order the kernel wants."""
    quota = max(MIN_QUOTA_US, round(limits.cpu_cores * PERIOD_US))
    memory = str(limits.memory_bytes)
    if hierarchy.version == 1:
        wanted = [
            ("memory", "memory.limit_in_bytes", memory),
            ("memory", "memory.memsw.limit_in_bytes", memory),  # must not be below the one before
            ("cpu", "cpu.cfs_period_us", str(PERIOD_US)),
            ("cpu", "cpu.cfs_quota_us", str(quota)),
        ]
    else:
        wanted = [
            ("memory", "memory.max", memory),
            ("memory", "memory.swap.max", "0"),
            ("cpu", "cpu.max", f"{quota} {PERIOD_US}"),
        ]
    wanted.append(("pids", "pids.max", str(limits.pids)))
    # Without swap accounting (v1) or swap (v2) the file is absent, and so is what it would bound.
    optional = {"memory.memsw.limit_in_bytes", "memory.swap.max"}
    return [
        (name, value)
        for controller, name, value in wanted
        if controller in hierarchy.controllers and (name not in optional or (folder / name).exists())
    ]


def _prepare(hierarchy: Hierarchy, owner: str) -> bool:
    """Make the owner's folder and hand the controllers down to it; tell whether that was possible."""
    ours = hierarchy.mount / "xcore"
    try:
        (ours / owner).mkdir(parents=True, exist_ok=True)
        if hierarchy.version == 2:
            for folder in (hierarchy.mount, ours, ours / owner):
                enabled = " ".join(f"+{controller}" for controller in hierarchy.controllers)
                (folder / "cgroup.subtree_control").write_text(enabled, "ascii")
    except OSError as error:
        names = ", ".join(hierarchy.controllers)
        _log.info("no control groups for %s here (%s)", names, error.strerror)
        return False
    return True


def _v2_controllers(mount: Path, available: Mapping[Path, str] | None) -> str:
    return _read(mount / "cgroup.controllers") if available is None else available.get(mount, "")


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:
        return ""
