"""The controller dies, the engine dies: sandboxes live on, are adopted, and nobody pays for it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.docker.conftest import Running
from tests.docker.test_faults import ECHO
from tests.harness import Load, until

pytestmark = pytest.mark.docker


def identities(running: Running) -> dict[str, str]:
    return {
        c: running.engine.inspect(c)["State"]["StartedAt"] for c in running.engine.containers(running=True)
    }


def test_after_kill_9_of_the_controller_the_next_one_adopts_the_same_containers(running: Running) -> None:
    """Under load: same ids, same start times, none twice, answering within 5 s of its start."""
    names = [f"echo-{n}" for n in range(6)]
    for name in names:
        running.plugin(name, ECHO, "Echo")
    controller = running.controller(XCORE_ON_EXIT="keep")
    for name in names:
        controller.wait_ready(name)
    before = identities(running)
    assert len(before) == len(names)
    with Load(controller, names[0], "echo", {"text": "x"}).running() as load:
        until(lambda: load.outcomes["200"] > 50)
        controller.kill()
        began = time.monotonic()
        controller.start(ready=False)
        served = load.outcomes["200"]
        until(lambda: load.outcomes["200"] > served, 30)
        took = time.monotonic() - began
        for name in names:
            until(lambda name=name: controller.call(name, "echo", {"text": "y"}).status == 200)
    print(f"answering after {took:.2f} s")
    assert took <= 5.0
    assert identities(running) == before
    assert all(controller.status(name)["restarts"]["count"] == 0 for name in names)
    assert set(load.bodies) == {b'"x"'}
    controller.stop()
    assert identities(running) == before
    running.engine.run("rm", "-fv", *before)


def test_a_sandbox_nobody_wants_any_more_is_swept_and_foreign_containers_are_left_alone(
    running: Running,
) -> None:
    running.plugin("stays", ECHO, "Echo")
    gone = running.plugin("goes", ECHO, "Echo")
    controller = running.controller(XCORE_ON_EXIT="keep")
    controller.wait_ready("stays")
    controller.wait_ready("goes")
    image = running.engine.inspect(running.engine.containers("goes")[0])["Config"]["Image"]
    foreign = running.engine.run(
        "run", "-d", "--network=none", "--label=dev.xcore.owner=somebody-else", "--label=dev.xcore.plugin=goes",
        "--entrypoint=sleep", image, "100",
    ).strip()  # fmt: skip
    try:
        controller.kill()
        (gone / "plugin.yaml").unlink()
        controller.start()
        until(lambda: running.engine.containers("goes") == [])
        assert len(running.engine.containers("stays", running=True)) == 1
        assert running.engine.inspect(foreign)["State"]["Running"]
        assert controller.request("GET", "/api/v1/plugins/goes").status == 404
    finally:
        running.engine.run("rm", "-f", foreign)
        controller.stop()
        running.engine.run("rm", "-fv", *running.engine.containers())


def test_a_sandbox_removed_stopped_or_paused_behind_our_back_is_back(running: Running) -> None:
    running.plugin("echo", ECHO, "Echo", probes={"liveness": {"periodSeconds": 1, "failureThreshold": 2}})
    controller = running.controller()
    controller.wait_ready("echo")
    reasons = []
    for number, command in enumerate((["rm", "-f"], ["stop", "-t", "1"], ["pause"]), 1):
        (container,) = running.engine.containers("echo", running=True)
        running.engine.run(*command, container)
        until(lambda number=number: controller.status("echo")["restarts"]["count"] == number, 20)
        until(lambda: controller.call("echo", "echo", {"text": "back"}).status == 200)
        reasons.append(controller.status("echo")["restarts"]["lastReason"])
    assert reasons[0] == "Removed", reasons
    assert reasons[2] == "ProbeFailed"
    volumes = ["volume", "ls", "-q", "--filter", f"label=dev.xcore.owner={running.engine.owner}"]
    until(lambda: len(running.engine.run(*volumes).split()) == len(running.engine.containers()))


def test_sigterm_ends_the_controller_cleanly_and_stop_leaves_no_container(running: Running) -> None:
    running.plugin("echo", ECHO, "Echo")
    controller = running.controller(XCORE_ON_EXIT="stop")
    controller.wait_ready("echo")
    assert controller.process is not None
    os.kill(controller.process.pid, signal.SIGINT)
    assert controller.process.wait(30) == 0
    assert running.engine.containers() == []
    volumes = running.engine.run(
        "volume", "ls", "-q", "--filter", f"label=dev.xcore.owner={running.engine.owner}"
    )
    assert volumes.split() == []


def test_suspended_is_remembered_across_controllers(running: Running) -> None:
    running.plugin("echo", ECHO, "Echo")
    controller = running.controller()
    controller.wait_ready("echo")
    assert controller.request("POST", "/api/v1/plugins/echo/suspend").status == 202
    until(lambda: running.engine.containers("echo", running=True) == [])
    answer = controller.call("echo", "echo")
    assert (answer.status, answer.reason) == (503, "PluginNotReady")
    controller.stop()
    controller.start()
    until(lambda: controller.condition("echo", "Ready")[1] == "Suspended")
    assert running.engine.containers("echo", running=True) == []
    resumed = controller.request("POST", "/api/v1/plugins/echo/resume?wait=Ready&timeoutSeconds=30")
    assert resumed.status == 200
    assert controller.call("echo", "echo", {"text": "awake"}).json == "awake"
