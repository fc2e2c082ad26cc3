"""The engine itself dies, with and without live-restore: a private one, in a network namespace of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sandbox_image.tag import image_tag
from tests.docker.conftest import Engine, Running
from tests.docker.test_faults import ECHO
from tests.harness import Load, until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an engine of its own"),
]


@dataclass
class PrivateEngine:
    """A dockerd of this test alone. Its network namespace keeps it away from the machine's bridges and rules."""

    root: Path
    live_restore: bool
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.root / "dockerd.log"

    @property
    def host(self) -> str:
        return f"unix://{self.root}/docker.sock"

    def start(self) -> None:
        # A killed engine leaves this behind, and the next one would wait for a process that is gone.
        (self.root / "exec/containerd/containerd.pid").unlink(missing_ok=True)
        (self.root / "docker.pid").unlink(missing_ok=True)
        command = [
            "unshare", "--net", "dockerd", "-H", self.host, "--data-root", f"{self.root}/data",
            "--exec-root", f"{self.root}/exec", "--pidfile", f"{self.root}/docker.pid",
            "--bridge=none", "--iptables=false", f"--live-restore={str(self.live_restore).lower()}",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.answers, 60, "the private engine")

    def answers(self) -> bool:
        command = ["docker", "-H", self.host, "info"]
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


@contextlib.contextmanager
def private_engine(running: Running, *, live_restore: bool) -> Iterator[PrivateEngine]:
    """Controllers started inside use it; they are stopped before it is."""
    root = Path(tempfile.mkdtemp(prefix="xcore-engine-", dir="/var/tmp"))
    engine = PrivateEngine(root, live_restore)
    try:
        engine.start()
        archive = root / "image.tar"
        subprocess.run(["docker", "save", "-o", archive, image_tag()], check=True)
        subprocess.run(
            ["docker", "-H", engine.host, "load", "-q", "-i", archive], check=True, capture_output=True
        )
        archive.unlink()
        running.settings["XCORE_DOCKER_HOST"] = engine.host
        running.engine = Engine(running.root / "state", engine.host)
        yield engine
    finally:
        for controller in running.started:
            if controller.process is not None and controller.process.poll() is None:
                controller.stop()
            print(controller.log.read_text()[-6000:])
        running.engine = Engine(running.root / "state")
        engine.stop()
        for mounted in Path("/proc/mounts").read_text().splitlines():
            if f" {root}" in mounted:
                subprocess.run(["umount", "-l", mounted.split()[1]], check=False, capture_output=True)
        shutil.rmtree(root, ignore_errors=True)


def test_with_live_restore_requests_are_answered_while_the_engine_is_dead(running: Running) -> None:
    """Not one of them fails, nothing is restarted, and the engine's absence is told."""
    with private_engine(running, live_restore=True) as engine:
        running.plugin("echo", ECHO, "Echo")
        controller = running.controller()
        controller.wait_ready("echo")
        before = running.engine.containers("echo")
        with Load(controller, "echo", "echo", {"text": "x"}).running() as load:
            until(lambda: load.outcomes["200"] > 20)
            engine.kill()
            until(lambda: controller.condition("echo", "Programmed")[1] == "RuntimeUnavailable", 40)
            assert controller.condition("echo", "Ready")[0] == "True"
            assert controller.request("GET", "/readyz").json["status"] == "degraded"
            served = load.outcomes["200"]
            until(lambda: load.outcomes["200"] > served + 100)
            engine.start()
            until(lambda: controller.condition("echo", "Programmed")[0] == "True", 40)
        assert set(load.outcomes) == {"200"}, (load.outcomes, load.wrong[:3], load.retries[:3])
        assert running.engine.containers("echo") == before
        assert controller.status("echo")["restarts"]["count"] == 0


def test_without_it_everything_comes_back_and_no_restart_budget_is_spent(running: Running) -> None:
    with private_engine(running, live_restore=False) as engine:
        names = [f"echo-{n}" for n in range(3)]
        for name in names:
            running.plugin(name, ECHO, "Echo")
        controller = running.controller()
        for name in names:
            controller.wait_ready(name)
        with Load(controller, names[0], "echo", {"text": "x"}).running() as load:
            until(lambda: load.outcomes["200"] > 20)
            engine.kill()
            until(lambda: controller.condition(names[0], "Programmed")[1] == "RuntimeUnavailable", 40)
            engine.start()
            for name in names:
                until(lambda name=name: controller.call(name, "echo", {"text": "y"}).status == 200, 60)
                controller.wait_ready(name)
        assert set(load.outcomes) <= {"200", "503+Retry-After"}, (load.outcomes, load.wrong[:3])
        for name in names:
            restarts = controller.status(name)["restarts"]
            assert restarts["inWindow"] == 0, restarts
            assert len(running.engine.containers(name, running=True)) == 1
