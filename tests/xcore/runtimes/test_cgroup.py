"""Control groups: how the mounts are read, what is written, and the real thing where it may be written."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import until
from xcore.runtimes.cgroup import Cgroup, Cgroups, Hierarchy, Limits, hierarchies

LIMITS = Limits(memory_bytes=64 * 2**20, pids=16, cpu_cores=0.25)

V1 = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0
"""
V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"


def test_on_v1_each_controller_has_its_own_mount_and_v2_gets_the_rest():
    unified = Path("/sys/fs/cgroup/unified")
    assert hierarchies(V1, {unified: "pids memory io"}) == [
        Hierarchy(1, Path("/sys/fs/cgroup/cpu,cpuacct"), ("cpu",)),
        Hierarchy(1, Path("/sys/fs/cgroup/memory"), ("memory",)),
        Hierarchy(2, unified, ("pids",)),
    ]


def test_on_v2_all_are_in_one_tree():
    root = Path("/sys/fs/cgroup")
    assert hierarchies(V2, {root: "cpuset cpu io memory pids\n"}) == [
        Hierarchy(2, root, ("memory", "pids", "cpu"))
    ]
    assert hierarchies(V2, {root: ""}) == []
    assert hierarchies("", {}) == []


def pretended(tmp_path, hierarchy, files):
    folder = tmp_path / "group"
    group = Cgroup([(hierarchy, folder)])
    real_mkdir = Path.mkdir

    def mkdir(self, *args, **kwargs):
        real_mkdir(self, *args, **kwargs)
        for name in files:
            (self / name).write_text("")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", mkdir)
        group.make(LIMITS)
    return group, {f.name: f.read_text() for f in folder.iterdir() if f.read_text()}


def test_limits_on_v1(tmp_path):
    hierarchy = Hierarchy(1, tmp_path, ("memory", "pids", "cpu"))
    group, written = pretended(tmp_path, hierarchy, ["memory.memsw.limit_in_bytes"])
    assert written == {
        "memory.limit_in_bytes": "67108864",
        "memory.memsw.limit_in_bytes": "67108864",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "25000",
        "pids.max": "16",
    }
    (tmp_path / "group" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert group.oom_kills() == 3


def test_limits_on_v2_without_swap_accounting(tmp_path):
    group, written = pretended(tmp_path, Hierarchy(2, tmp_path, ("memory", "pids", "cpu")), [])
    assert written == {"memory.max": "67108864", "cpu.max": "25000 100000", "pids.max": "16"}
    assert group.oom_kills() == 0
    (tmp_path / "group" / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n")
    assert group.oom_kills() == 1


def test_limits_on_v2_forbid_swap(tmp_path):
    _, written = pretended(tmp_path, Hierarchy(2, tmp_path, ("memory",)), ["memory.swap.max"])
    assert written == {"memory.max": "67108864", "memory.swap.max": "0"}


def test_a_tree_that_cannot_be_written_is_left_out_and_told(tmp_path):
    (tmp_path / "file").write_text("")
    groups = Cgroups("owner", [Hierarchy(1, tmp_path / "file", ("memory",))])
    groups.open()
    assert groups.controllers == frozenset()
    group = groups.create("one", LIMITS)
    group.join(os.getpid())
    assert (group.processes(), group.oom_kills()) == (set(), 0)
    group.remove()


@pytest.fixture
def groups():
    """The real ones: needs root and writable control groups (v1 or v2), as on a plain host."""
    groups = Cgroups.here(f"test{os.getpid()}")
    groups.open()
    if "memory" not in groups.controllers or "pids" not in groups.controllers:
        groups.close()
        pytest.skip("needs control groups that this process may write: run as root on the host")
    yield groups
    groups.close()
    assert not [h for h in groups._found if groups._folder(h).exists()]


def sleeper(count=1):
    code = f"import os, time\nfor _ in range({count - 1}):\n    os.fork() or time.sleep(60)\nprint('up', flush=True)\ntime.sleep(60)"
    return [sys.executable, "-c", f"input()\n{code}"]


async def test_a_real_group_holds_its_processes_bounds_and_kills_them(groups):
    group = groups.create("one", LIMITS)
    child = await asyncio.create_subprocess_exec(*sleeper(3), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    group.join(child.pid)
    child.stdin.write(b"\n")
    assert await child.stdout.readline() == b"up\n"
    assert child.pid in group.processes()
    assert len(group.processes()) == 3
    group.kill()
    assert await child.wait() == -signal.SIGKILL
    await until(lambda: not group.processes(), what="an empty group")
    group.remove()
    assert group.oom_kills() == 0


async def test_a_real_group_counts_memory_kills(groups):
    group = groups.create("one", LIMITS)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()\nx = b'x' * (200 * 2**20)", stdin=subprocess.PIPE
    )
    group.join(child.pid)
    child.stdin.write(b"\n")
    assert await child.wait() == -signal.SIGKILL
    assert group.oom_kills() == 1
    group.remove()


async def test_what_an_earlier_run_left_is_ended(groups):
    group = groups.create("left", LIMITS)
    child = await asyncio.create_subprocess_exec(*sleeper(), stdin=subprocess.PIPE)
    group.join(child.pid)
    await asyncio.to_thread(groups.open)
    assert await asyncio.wait_for(child.wait(), 5) == -signal.SIGKILL
    # Reaped only now: a zombie keeps nothing in its group.
    await asyncio.to_thread(groups.open)
    assert not any(folder.exists() for _, folder in group._folders)


async def test_a_name_that_is_taken_leaves_nothing_half_made(groups):
    group = groups.create("one", LIMITS)
    with pytest.raises(FileExistsError):
        groups.create("one", LIMITS)
    group.remove()
