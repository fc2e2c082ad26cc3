"""Private memory of an idle sandbox of `hello`, beside a bare interpreter asleep in the same envelope.

Private_Clean + Private_Dirty of `smaps_rollup` (proc(5)), summed over every process of the container's cgroup. Pages
of the image's files are private as long as nobody else maps them: so it is measured for the only sandbox there is,
which the target is held against, and for a further one beside it. MB are 10^6 bytes.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import program
from bench.figures import BenchError, Effort, Figure, Series, Target, take_turns
from bench.sandboxes import Sandboxes, instance_pid, sandboxes

FULL = Effort(rounds=5)
TARGET = Target("ours", "≤", 30.0)
SETTLE_SECONDS = 2.0
CGROUPS = Path("/sys/fs/cgroup")


def measure(effort: Effort) -> Sequence[Figure]:
    if os.geteuid() != 0:
        raise BenchError("root is missing: the memory of another user's processes can be read by root only")
    with sandboxes() as (made, runner):
        program.progress("private memory of hello and of a bare interpreter")
        sides = {"ours": partial(_sandbox, made, runner), "peer": partial(_bare, made)}
        others = made.running()
        alone = take_turns(sides, effort.rounds)
        companion = runner.run(made.start())
        runner.run(made.wait(companion, "/ready"))
        further = take_turns(sides, effort.rounds)
    caution = f"; {others} others of this image ran, so less was private" if others else ""
    return [
        _figure("hello, idle: private memory of the only sandbox", alone, TARGET, caution),
        _figure("hello, idle: private memory of a further sandbox", further),
    ]


def _figure(
    what: str, taken: dict[str, list[dict[str, float]]], target: Target | None = None, caution: str = ""
) -> Figure:
    totals = {side: [sum(each.values()) for each in rounds] for side, rounds in taken.items()}
    parts = " + ".join(f"{name} {size:.1f} MB" for name, size in taken["ours"][-1].items())
    ours, peer = Series("ours", totals["ours"]), Series("interpreter asleep", totals["peer"])
    return Figure(what, "MB", ours, peer, target, parts + caution)


def _sandbox(made: Sandboxes, runner: asyncio.Runner) -> dict[str, float]:
    instance = runner.run(made.start())
    runner.run(made.wait(instance, "/ready"))
    time.sleep(SETTLE_SECONDS)
    found = _container_memory(made, instance.id)
    runner.run(made.engine.remove(instance))
    return found


def _bare(made: Sandboxes) -> dict[str, float]:
    container = made.start_bare(["python3", "-c", "import time; time.sleep(60)"])
    time.sleep(SETTLE_SECONDS)
    found = _container_memory(made, container)
    made.remove(container)
    return found


def _container_memory(made: Sandboxes, container: str) -> dict[str, float]:
    """MB of every process, by name."""
    pid = instance_pid(made.client, container)
    lines = Path(f"/proc/{pid}/cgroup").read_text("ascii")
    procs = CGROUPS / memory_cgroup(lines) / "cgroup.procs"
    found: dict[str, float] = {}
    for member in procs.read_text("ascii").split():
        name = Path(f"/proc/{member}/comm").read_text("utf-8").strip()
        rollup = Path(f"/proc/{member}/smaps_rollup").read_text("ascii")
        found[name] = found.get(name, 0.0) + private_bytes(rollup) / 1e6
    return found


def memory_cgroup(lines: str) -> str:
    """The cgroup that counts memory, relative to the mount, from `/proc/<pid>/cgroup` (v1 or v2; cgroups(7))."""
    found = {
        controllers: path for _, controllers, path in (line.split(":", 2) for line in lines.splitlines())
    }
    for controllers, path in found.items():
        if "memory" in controllers.split(","):
            return "memory" + path
    return found[""].removeprefix("/")


def private_bytes(rollup: str) -> int:
    """Private_Clean + Private_Dirty of a `smaps_rollup`."""
    return sum(
        int(size) * 1024 for size in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", rollup, re.MULTILINE)
    )


if __name__ == "__main__":
    sys.exit(program.run(measure, FULL, __doc__ or ""))
