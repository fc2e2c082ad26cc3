"""Processes as /proc shows them (proc(5)): whose they are, and killing them without ever hitting a stranger.

A pid is only a number that may be given away again, so a process is held by a pidfd, looked at once more, and then
signalled. Zombies count as gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

_DEAD = frozenset("ZX")


def pids() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())


def session(pid: int) -> int | None:
    """Give the session of a living process; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    state, _, _, session_id = stat.rpartition(")")[2].split()[:4]
    return None if state in _DEAD else int(session_id)


def uid(pid: int) -> int | None:
    """Give the real uid. The owner of /proc/<pid> would be root for a process that made itself undumpable."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:")), None)


def in_cgroup(pid: int, name: str) -> bool:
    try:
        return name in Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace")
    except OSError:
        return False


def oom_kills(pid: int) -> int:
    """Count the memory kills in the control group of a process; 0 where that cannot be known."""
    try:
        return oom_count(_memory_events(pid).read_text("ascii"))
    except (OSError, ValueError, KeyError):
        return 0


def oom_count(events: str) -> int:
    """Read the memory kills from memory.oom_control or memory.events."""
    counts = dict(line.split(" ", 1) for line in events.splitlines())
    return int(counts.get("oom_kill", "0"))


def _memory_events(pid: int) -> Path:
    """Find the file that counts: memory.oom_control (cgroup v1) or memory.events (v2), see cgroups(7)."""
    lines = Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace").splitlines()
    groups = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
    old = next((path for controllers, path in groups.items() if "memory" in controllers.split(",")), None)
    if old is not None:
        return Path(f"/sys/fs/cgroup/memory{old}/memory.oom_control")
    return Path(f"/sys/fs/cgroup{groups['']}/memory.events")


def was_started_with(pid: int, text: bytes) -> bool:
    """Tell whether the environment it was started with holds this text."""
    try:
        return session(pid) is not None and text in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def kill(pid: int, still: Callable[[int], bool]) -> None:
    """SIGKILL to this process if it is `still` the one that is meant."""
    try:
        held = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if still(pid):
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(held, signal.SIGKILL)
    finally:
        os.close(held)
