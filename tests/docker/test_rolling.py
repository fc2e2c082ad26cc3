"""A folder is edited, often and under load, sometimes badly: no request fails, every answer is of one revision."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.docker.conftest import Running
from tests.harness import Load, until

pytestmark = pytest.mark.docker

EDITS = 200
CODE = """
    from part import NUMBER
    from xcore.plugin import Plugin, action

    class Versioned(Plugin):
        @action
        async def versions(self) -> list[int]:
            return [NUMBER, {number}]
"""
BROKEN = ("def broken(:\n", "raise RuntimeError('not today')\n", "import nothing_of_that_name\n")


def write(folder: Path, name: str, text: str) -> None:
    """Save as editors do: beside, then renamed."""
    beside = folder / f".{name}.tmp"
    beside.write_text(text)
    beside.rename(folder / name)


def test_200_edits_under_load_fail_no_request_and_mix_no_revisions(running: Running) -> None:
    """Two files change together; every tenth edit is broken."""
    folder = running.plugin("versioned", CODE.format(number=0), "Versioned")
    write(folder, "part.py", "NUMBER = 0\n")
    controller = running.controller()
    controller.wait_ready("versioned")
    served = set()
    with Load(controller, "versioned", "versions", callers=3).running() as load:
        for number in range(1, EDITS + 1):
            if number % 10 == 5:
                write(folder, "part.py", BROKEN[number % len(BROKEN)])
            else:
                source = CODE.format(number=number).replace("\n    ", "\n").lstrip()
                write(folder, "part.py", f"NUMBER = {number}\n")
                write(folder, "main.py", source)
            if number % 10 == 0:
                # Wait for this one, so that many revisions really serve.
                wanted = json.dumps([number, number], separators=(",", ":")).encode()
                until(lambda wanted=wanted: load.bodies[wanted] > 0, 40, f"edit {number} being served")
                served.add(number)
            time.sleep(0.05)
    assert set(load.outcomes) == {"200"}, (load.outcomes, load.wrong[:5])
    versions = [json.loads(body) for body in load.bodies]
    assert all(first == second for first, second in versions), versions
    assert len(served) == EDITS // 10
    print(f"{load.outcomes['200']} answers from {len(versions)} revisions")
    until(lambda: len(running.engine.containers("versioned")) == 1)
    assert controller.status("versioned")["restarts"]["count"] == 0


def test_a_broken_new_revision_is_told_and_the_old_one_serves_on(running: Running) -> None:
    folder = running.plugin("versioned", CODE.format(number=1), "Versioned")
    write(folder, "part.py", "NUMBER = 1\n")
    controller = running.controller()
    controller.wait_ready("versioned")
    write(folder, "part.py", "raise RuntimeError('not today')\n")
    until(lambda: controller.condition("versioned", "Progressing")[1] == "RolledBack")
    told = controller.condition("versioned", "Progressing")[2]
    assert told.startswith("StartupFailed")
    assert "RuntimeError: not today" in told
    assert controller.condition("versioned", "Ready")[0] == "True"
    assert controller.call("versioned", "versions").json == [1, 1]
    logs = controller.request("GET", "/api/v1/plugins/versioned/logs").content.decode()
    assert "Traceback" in logs
    # Also after the controller is gone and back.
    controller.kill()
    controller.start()
    assert controller.call("versioned", "versions").json == [1, 1]
    write(folder, "part.py", "NUMBER = 1\n")
    until(lambda: controller.condition("versioned", "Progressing")[1] == "NewRevisionAvailable")


def test_traffic_settings_take_effect_without_a_new_instance(running: Running) -> None:
    running.plugin("versioned", CODE.format(number=1), "Versioned")
    folder = running.plugins / "versioned"
    write(folder, "part.py", "NUMBER = 1\n")
    controller = running.controller()
    controller.wait_ready("versioned")
    before = running.engine.containers("versioned")
    running.plugin(
        "versioned", CODE.format(number=1), "Versioned", actions=[{"name": "versions", "maxBodyBytes": 1}]
    )
    until(lambda: controller.call("versioned", "versions", {"a": 1}).reason == "BodyTooLarge")
    assert running.engine.containers("versioned") == before
