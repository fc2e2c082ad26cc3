"""A controller that is not root, with access to the engine's socket: the weaker socket directory, said and working."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docker.conftest import Running
from tests.docker.test_faults import ECHO
from tests.harness import Controller

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]
USER = 54321
ENGINE_SOCKET = Path("/var/run/docker.sock")


def test_a_controller_that_is_not_root_reaches_its_sandboxes_through_a_directory_of_its_group(
    running: Running,
) -> None:
    """The plugin answers, its files are bounded, and nothing is left when it stops."""
    running.plugin("echo", ECHO, "Echo")
    state = running.root / "state"
    state.mkdir()
    os.chown(state, USER, USER)
    group = ENGINE_SOCKET.stat().st_gid
    prefix = ("setpriv", f"--reuid={USER}", f"--regid={USER}", f"--groups={group}", "--")
    controller = Controller(running.plugins, state, running.settings, prefix)
    running.started.append(controller)
    controller.start()
    controller.wait_ready("echo")
    assert controller.call("echo", "echo", {"text": "hi"}).json == "hi"
    host = running.engine.inspect(running.engine.containers("echo")[0])
    assert host["Config"]["User"].endswith(f":{USER}")
    mount = next(m for m in host["HostConfig"]["Mounts"] if m["Target"] == "/run/plugin")
    assert (mount["Type"], mount["Source"].startswith(f"{state}/run/")) == ("bind", True)
    assert {"Name": "fsize", "Soft": 16 << 20, "Hard": 16 << 20} in host["HostConfig"]["Ulimits"]
    assert controller.stop() == 0
    assert running.engine.containers() == []
    assert list((state / "run").iterdir()) == []
