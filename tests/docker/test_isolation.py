"""What a plugin finds when it looks around inside its sandbox, and what it cannot do there (attacks S01-S20, S26-S31)."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import Running

pytestmark = pytest.mark.docker

SENTINEL = "s3nt1nel-of-the-controller"
PROBE = """
    import os, socket, subprocess, sys
    from typing import Any
    from xcore.plugin import Plugin, action

    def attempt(function, *arguments):
        try:
            return str(function(*arguments))
        except BaseException as error:
            return type(error).__name__ if not isinstance(error, OSError) else os.strerror(error.errno or 0)

    def write(path):
        with open(path, "w") as file:
            file.write("x")

    class Probe(Plugin):
        @action
        def status(self) -> dict[str, str]:
            lines = open("/proc/self/status").read().splitlines()
            return dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)

        @action
        def namespaces(self) -> dict[str, str]:
            return {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}

        @action
        def surroundings(self) -> dict[str, Any]:
            fds = {}
            for fd in os.listdir("/proc/self/fd"):
                try:
                    fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
                except OSError:
                    pass
            environ = {}
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    environ[pid] = open(f"/proc/{pid}/environ").read()
                except OSError:
                    pass
            return {
                "cwd": os.getcwd(), "fds": fds, "environ": environ, "dev": sorted(os.listdir("/dev")),
                "interfaces": os.listdir("/sys/class/net"), "uid": os.getuid(), "groups": os.getgroups(),
                "pids": [p for p in os.listdir("/proc") if p.isdigit()],
            }

        @action
        def write_everywhere(self, paths: list[str]) -> dict[str, str]:
            return {path: attempt(write, path) for path in paths}

        @action
        def exists(self, paths: list[str]) -> list[str]:
            return [path for path in paths if os.path.lexists(path)]

        @action
        def read(self, paths: list[str]) -> dict[str, str]:
            return {path: attempt(lambda: open(path, "rb").read(1)) for path in paths}

        @action
        def deeds(self) -> dict[str, str]:
            def run_from_tmp():
                with open("/tmp/e.sh", "w") as file:
                    file.write("#!/bin/sh\\necho ran\\n")
                os.chmod("/tmp/e.sh", 0o755)
                return subprocess.run(["/tmp/e.sh"], capture_output=True).stdout
            return {
                "setuid": attempt(os.setuid, 0),
                "mknod": attempt(os.mknod, "/tmp/dev", 0o600 | 0o020000, os.makedev(1, 3)),
                "exec from /tmp": attempt(run_from_tmp),
                "chroot": attempt(os.chroot, "/tmp"),
                "tcp out": attempt(socket.create_connection, ("192.0.2.1", 80), 2),
                "resolve": attempt(socket.gethostbyname, "example.com"),
                "raw": attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1),
                "netlink": attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 0),
            }

        @action
        def fill(self, path: str) -> dict[str, Any]:
            written = files = 0
            error = ""
            try:
                with open(f"{path}/big", "wb") as file:
                    while written < 1 << 30:
                        written += file.write(b"x" * 4096)
                        file.flush()
            except OSError as problem:
                error = os.strerror(problem.errno)
            os.unlink(f"{path}/big")
            try:
                for files in range(100_000):
                    open(f"{path}/f{files}", "w").close()
            except OSError:
                pass
            for number in range(files):
                os.unlink(f"{path}/f{number}")
            return {"bytes": written, "error": error, "files": files}

        @action
        def processes(self) -> int:
            children = []
            try:
                while len(children) < 500:
                    pid = os.fork()
                    if pid == 0:
                        os.read(os.pipe()[0], 1)
                    children.append(pid)
            except OSError:
                pass
            for pid in children:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            return len(children)

        @action
        def descriptors(self) -> int:
            opened = []
            try:
                while len(opened) < 100_000:
                    opened.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
            for fd in opened:
                os.close(fd)
            return len(opened)
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One probe plugin for all rows."""
    import shutil
    import tempfile

    from tests.docker.conftest import Engine

    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    made = Running(root, Engine(root / "state"))
    os.environ["OF_THE_CONTROLLER"] = SENTINEL
    made.plugin("probe", PROBE, "Probe", env=[{"name": "DECLARED", "value": "yes"}], resources={"pids": 64})
    controller = made.controller()
    try:
        controller.wait_ready("probe")
        yield lambda action, **arguments: controller.call("probe", action, arguments).json
    finally:
        del os.environ["OF_THE_CONTROLLER"]
        controller.stop()
        shutil.rmtree(root)


def test_it_has_no_capability_no_new_privileges_and_a_system_call_filter(probe: Any) -> None:
    status = probe("status")
    assert {status[name].strip("0") for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {""}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_it_is_nobody_on_this_machine(probe: Any) -> None:
    status = probe("status")
    for ids in (status["Uid"], status["Gid"]):
        assert len(set(ids.split())) == 1
        assert int(ids.split()[0]) >= 10_000
    assert "0" not in status["Groups"].split()


def test_it_shares_no_namespace_with_the_host(probe: Any) -> None:
    inside = probe("namespaces")
    for name in ("pid", "net", "ipc", "uts", "mnt", "cgroup"):
        assert inside[name] != str(Path(f"/proc/self/ns/{name}").readlink())


def test_it_sees_only_its_own_processes_descriptors_devices_and_environment(probe: Any) -> None:
    found = probe("surroundings")
    assert found["cwd"] == "/"
    assert set(found["interfaces"]) <= {"lo"}
    assert len(found["pids"]) <= 3
    allowed = {
        "core",
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    }
    assert set(found["dev"]) <= allowed
    inside = r"(/dev/null|/dev/urandom|pipe:.*|socket:.*|anon_inode:.*|/proc/.*|/plugin.*|)"
    assert all(re.fullmatch(inside, target) for target in found["fds"].values()), found["fds"]
    text = "".join(found["environ"].values())
    assert "DECLARED=yes" in text
    assert SENTINEL not in text
    assert "XCORE_" not in text


def test_nothing_can_be_written_but_tmp_and_its_socket_directory(probe: Any) -> None:
    denied = ["/x", "/etc/passwd", "/usr/bin/x", "/plugin/main.py", "/plugin/x", "/opt/xcore/x", "/run/x", "/var/tmp/x",
              "/dev/x", "/dev/shm/x", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper",
              "/proc/sys/kernel/modprobe", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/release_agent",
              "/proc/sys/fs/binfmt_misc/register", "/sys/fs/cgroup/memory.max", "/root/x", "/home/x"]  # fmt: skip
    assert {
        path: result for path, result in probe("write_everywhere", paths=denied).items() if result == "None"
    } == {}
    allowed = probe("write_everywhere", paths=["/tmp/x", "/run/plugin/x"])
    assert set(allowed.values()) == {"None"}


def test_no_door_to_the_host_is_there(probe: Any) -> None:
    paths = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/var/lib/docker",
             "/var/lib/kubelet", "/run/secrets/kubernetes.io", "/host", "/hostfs"]  # fmt: skip
    assert probe("exists", paths=paths) == []


def test_kernel_secrets_are_masked(probe: Any) -> None:
    for path, result in probe(
        "read", paths=["/proc/kcore", "/proc/keys", "/proc/timer_list", "/dev/kmsg", "/sys/firmware/x"]
    ).items():
        assert result in {
            "b''",
            "Permission denied",
            "No such file or directory",
            "Operation not permitted",
        }, (path, result)


def test_what_it_may_not_do_it_cannot_do(probe: Any) -> None:
    deeds = probe("deeds")
    assert deeds["setuid"] == "Operation not permitted"
    assert deeds["mknod"] in {"Operation not permitted", "Permission denied"}
    assert deeds["exec from /tmp"] == "Permission denied"
    assert deeds["chroot"] == "Operation not permitted"
    assert deeds["tcp out"] == "Network is unreachable"
    assert deeds["resolve"] == "gaierror" or "resolution" in deeds["resolve"] or deeds["resolve"] != "None"
    assert deeds["raw"] == "Operation not permitted"
    assert deeds["netlink"] == "Operation not permitted"


def test_what_it_fills_is_bounded(probe: Any) -> None:
    tmp = probe("fill", path="/tmp")
    assert tmp["error"] == "No space left on device"
    assert tmp["bytes"] <= 16 << 20
    assert tmp["files"] <= 4096
    socket_directory = probe("fill", path="/run/plugin")
    assert socket_directory["bytes"] <= 64 << 10
    assert socket_directory["files"] <= 16
    assert probe("processes") <= 64
    assert probe("descriptors") <= 1024


def test_two_sandboxes_never_have_the_same_uid(running: Running) -> None:
    for number in range(3):
        running.plugin(f"p{number}", PROBE, "Probe")
    controller = running.controller()
    uids = set()
    for number in range(3):
        controller.wait_ready(f"p{number}")
        uids.add(controller.call(f"p{number}", "surroundings").json["uid"])
    assert len(uids) == 3


def test_after_a_stop_no_process_of_it_is_left(running: Running) -> None:
    running.plugin("probe", PROBE, "Probe")
    controller = running.controller()
    controller.wait_ready("probe")
    (container,) = running.engine.containers("probe")
    assert controller.request("POST", "/api/v1/plugins/probe/suspend").status == 202
    from tests.harness import until

    until(lambda: running.engine.containers("probe") == [])
    left = [p for p in Path("/proc").iterdir() if p.name.isdigit() and _in(p, container)]
    assert left == []
    assert json.loads("[]") == left


def _in(process: Path, container: str) -> bool:
    try:
        return container in (process / "cgroup").read_text()
    except OSError:
        return False
