"""Packed dependencies inside the hardened sandbox: compiled libraries work, and nothing is installed at run time."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.docker.conftest import Engine, Running
from tests.harness import XCORE, until

pytestmark = pytest.mark.docker

LIBRARIES = """
import io
import os

import lxml.etree
import numpy
import PIL.Image

from xcore.plugin import Plugin, action


class Libraries(Plugin):
    @action(safe=True)
    def use(self) -> dict:
        picture = io.BytesIO()
        PIL.Image.new("RGB", (64, 64), "red").resize((8, 8)).save(picture, "PNG")
        product = numpy.ones((300, 300)) @ numpy.ones((300, 300))
        return {
            "png": picture.getvalue()[1:4].decode(),
            "product": float(product[0, 0]),
            "xml": lxml.etree.tostring(lxml.etree.fromstring("<a><b/></a>")).decode(),
            "threads": len(os.listdir("/proc/self/task")) <= 4,
            "read_only": not os.access("/site", os.W_OK),
        }
"""
MOUNT_POINTS = {"A /plugin", "A /site", "A /run/plugin", "A /usr/sbin/docker-init"}
USED = {"png": "PNG", "product": 300.0, "xml": "<a><b/></a>", "threads": True, "read_only": True}


def pack(running: Running, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XCORE_STATE_DIR": str(running.root / "state")}
    command = [XCORE, "pack", folder]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170, check=False)


def libraries(running: Running) -> Path:
    dependencies = ["pillow>=11", "numpy>=2", "lxml>=5"]
    folder = running.plugin("libs", LIBRARIES, "Libraries", dependencies=dependencies)
    done = pack(running, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_compiled_libraries_work_in_the_sandbox_and_nothing_is_installed_in_it(
    running: Running, engine: Engine
) -> None:
    """No file is made outside /tmp and the socket's directory; nothing in /tmp either."""
    libraries(running)
    controller = running.controller()
    controller.wait_ready("libs")
    assert controller.request("GET", "/app/libs/use").json == USED
    (container,) = engine.containers("libs", running=True)
    made = {line for line in engine.run("diff", container).splitlines() if line.startswith("A ")}
    assert made == MOUNT_POINTS, "what the engine itself makes, and nothing else"
    root = Path(f"/proc/{engine.children(engine.pid('libs'))[0]}/root")
    assert list((root / "tmp").iterdir()) == []
    assert [path.name for path in (root / "run/plugin").iterdir()] == ["p.sock"]
    (site,) = [m for m in engine.inspect(container)["Mounts"] if m["Destination"] == "/site"]
    assert (site["Type"], site["RW"]) == ("bind", False)
    assert Path(site["Source"]).parent == running.root / "state/sites"


def test_the_same_plugin_works_as_a_child_process(running: Running) -> None:
    """Wheels for the controller's own Python come from the same lock."""
    libraries(running)
    controller = running.controller(XCORE_RUNTIME="process")
    controller.wait_ready("libs")
    assert controller.request("GET", "/app/libs/use").json == USED


def test_a_folder_without_its_lock_is_refused_with_the_remedy_and_served_once_it_is_packed(
    running: Running,
) -> None:
    folder = running.plugin("libs", LIBRARIES, "Libraries", dependencies=["pillow", "numpy", "lxml"])
    controller = running.controller(XCORE_RUNTIME="process")
    until(
        lambda: (
            controller.condition("libs", "Accepted")
            == (
                "False",
                "InvalidBundle",
                "there is no plugin.lock for spec.dependencies: run `xcore pack DIR`",
            )
        )
    )
    assert pack(running, folder).returncode == 0
    controller.wait_ready("libs")
    assert controller.request("GET", "/app/libs/use").status == 200
