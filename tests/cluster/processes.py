"""The processes of the cluster, each recorded by id and time of birth: an id alone may be somebody else's by now."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.commands import ClusterError, wait_for
from tests.cluster.places import DATA

RECORDS = DATA / "run"
LOGS = DATA / "log"


def start(name: str, command: Sequence[str | Path]) -> None:
    """Run it in a session of its own, its output in a file; it outlives whoever started it."""
    for folder in (RECORDS, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in command]
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    opened = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(LOGS / f"{name}.log"), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # Python's own files are closed on exec, so nothing of a caller's (a pipe, say) stays open in here.
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=opened, setsid=True)
    record = {"pid": pid, "born": _born(pid), "command": words}
    (RECORDS / f"{name}.json").write_text(json.dumps(record))


def start_again(name: str) -> None:
    """As it was started last."""
    if not running(name):
        start(name, _record(name)["command"])


def running(name: str) -> bool:
    return pid_of(name) is not None


def pid_of(name: str) -> int | None:
    """The process of that name, if it still is the one that was started."""
    with contextlib.suppress(FileNotFoundError):
        record = _record(name)
        if record["born"] and _born(record["pid"]) == record["born"]:
            return int(record["pid"])
    return None


def send(name: str, number: signal.Signals) -> None:
    """Send a signal; nothing when it is gone already."""
    if pid := pid_of(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(name: str) -> None:
    """SIGKILL, and gone when this returns. Politely they would wait for each other."""
    send(name, signal.SIGKILL)
    wait_for(lambda: not running(name), f"the end of {name}", seconds=20, every=0.02)


def names() -> list[str]:
    return sorted(path.stem for path in RECORDS.glob("*.json"))


def log_tail(name: str) -> str:
    with contextlib.suppress(OSError):
        return "\n".join((LOGS / f"{name}.log").read_text(errors="replace").splitlines()[-8:])
    return ""


def must_run(name: str) -> bool:
    """True; ClusterError with its last words when it has ended."""
    if not running(name):
        raise ClusterError(f"{name} has ended: {log_tail(name)}")
    return True


def _record(name: str) -> dict[str, object]:
    return dict(json.loads((RECORDS / f"{name}.json").read_text()))


def _born(pid: int) -> str:
    """When it was started; empty when it is gone, or a zombie that nobody has collected yet.

    A first thread is a zombie while others of its process still end, with its ports in their hands.
    """
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" and int(fields[17]) <= 1 else fields[19]
