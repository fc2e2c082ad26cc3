"""Real engine, real controller: fixtures for tests marked `docker`."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Controller


@dataclass
class Engine:
    """The engine as its command line shows it, and which controller's sandboxes to look at."""

    state: Path
    host: str = ""

    def run(self, *arguments: str) -> str:
        host = ["-H", self.host] if self.host else []
        command = ["docker", *host, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    @property
    def owner(self) -> str:
        document = json.loads((self.state / "store/index/owner.json").read_text())
        return str(document["id"])

    def containers(self, plugin: str | None = None, *, running: bool = False) -> list[str]:
        filters = ["--filter", f"label=dev.xcore.owner={self.owner}"]
        if plugin:
            filters += ["--filter", f"label=dev.xcore.plugin={plugin}"]
        every = [] if running else ["-a"]
        return self.run("ps", "-q", "--no-trunc", *every, *filters).split()

    def remove_volumes(self) -> None:
        """What a container that was removed without `-v` left."""
        if (self.state / "store/index/owner.json").exists():
            label = f"label=dev.xcore.owner={self.owner}"
            for volume in self.run("volume", "ls", "-q", "--filter", label).split():
                self.run("volume", "rm", "-f", volume)

    def inspect(self, container: str) -> Any:
        return json.loads(self.run("inspect", container))[0]

    def pid(self, plugin: str) -> int:
        (container,) = self.containers(plugin, running=True)
        return int(self.inspect(container)["State"]["Pid"])

    @staticmethod
    def children(pid: int) -> list[int]:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass
class Running:
    """A plugins folder, and the controllers started over it."""

    root: Path
    engine: Engine
    settings: dict[str, str] = field(
        default_factory=lambda: {"XCORE_RUNTIME": "docker", "XCORE_ON_EXIT": "stop"}
    )
    started: list[Controller] = field(default_factory=list)

    @property
    def plugins(self) -> Path:
        return self.root / "plugins"

    def plugin(self, name: str, code: str, entry: str, **spec: Any) -> Path:
        folder = self.plugins / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.py").write_text(textwrap.dedent(code))
        resource = {
            "apiVersion": "xcore.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {"name": name},
            "spec": {"entrypoint": f"main:{entry}", **spec},
        }
        (folder / "plugin.yaml").write_text(json.dumps(resource))
        return folder

    def controller(self, **settings: str) -> Controller:
        self.plugins.mkdir(exist_ok=True)
        controller = Controller(self.plugins, self.root / "state", {**self.settings, **settings})
        self.started.append(controller)
        controller.start()
        return controller


@pytest.fixture
def running() -> Iterator[Running]:
    """Everything under one folder that other users may enter; whatever is left of its sandboxes is removed."""
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    made = Running(root, Engine(root / "state"))
    try:
        yield made
    finally:
        for controller in made.started:
            if controller.process is not None and controller.process.poll() is None:
                controller.stop()
        if (root / "state/store/index/owner.json").exists() and (left := made.engine.containers()):
            made.engine.run("rm", "-fv", *left)
        made.engine.remove_volumes()
        for controller in made.started[-1:]:
            print(controller.log.read_text()[-6000:])
        shutil.rmtree(root)


@pytest.fixture
def engine(running: Running) -> Engine:
    return running.engine
