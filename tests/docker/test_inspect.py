"""What the engine says of a sandbox, held field by field against a checked-in expectation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import Running
from tests.docker.test_faults import ECHO

pytestmark = pytest.mark.docker

EXPECTED = json.loads(Path(__file__).with_name("inspect.json").read_text())
# What only the engine's version, the host or the moment decides.
ENGINES_OWN = {
    "ConsoleSize",
    "Annotations",
    "KernelMemory",
    "KernelMemoryTCP",
    "Isolation",
    "Runtime",
    "Dns",
    "DnsOptions",
    "DnsSearch",
}


def test_a_sandbox_is_created_exactly_as_the_expectation_says(running: Running) -> None:
    """Capabilities, seccomp, mounts, limits, network, user, environment, labels: all of it, and nothing more."""
    running.plugin("echo", ECHO, "Echo", env=[{"name": "GREETING", "value": "hi"}])
    controller = running.controller()
    controller.wait_ready("echo")
    found = running.engine.inspect(running.engine.containers("echo")[0])
    assert shown(found, running) == EXPECTED


def shown(found: dict[str, Any], running: Running) -> dict[str, Any]:
    """The parts that matter, with what differs from run to run replaced by its name."""
    for label in ("base", "python", "platform"):  # the image's own, the operator's choice
        del found["Config"]["Labels"][f"dev.xcore.{label}"]
    profile = json.loads(Path("sandbox_image/seccomp.json").read_text())
    host = {k: v for k, v in found["HostConfig"].items() if k not in ENGINES_OWN}
    for number, option in enumerate(host["SecurityOpt"]):
        kind, _, value = option.partition("=")
        if kind == "seccomp":
            assert json.loads(value) == profile
            host["SecurityOpt"][number] = "seccomp=<our profile>"
    uid = found["Config"]["User"].split(":")[0]
    assert 100_000 <= int(uid) < 165_536
    short = found["Name"].removeprefix("/xcore-echo-")
    text = json.dumps(
        {
            "Config": {
                k: v for k, v in found["Config"].items() if not k.startswith("Attach") and k != "Domainname"
            },
            "HostConfig": host,
            "Mounts": sorted(found["Mounts"], key=lambda mount: mount["Destination"]),
        }
    )
    labels = found["Config"]["Labels"]
    for value, name in (
        (labels["dev.xcore.revision"], "<revision>"),
        (labels["dev.xcore.owner"], "<owner>"),
        (uid, "<uid>"),
        (short, "<short id>"),
        (found["Config"]["Image"], "<image>"),
        (str(running.root), "<root>"),
    ):
        text = text.replace(value, name)
    text = re.sub(r"snapshots/[0-9a-f]{64}", "snapshots/<digest>", text)
    text = re.sub(r"/[^\"]*/volumes/[0-9a-f]{64}/_data", "<volume>", text)
    return json.loads(re.sub(r'"[0-9a-f]{64}"', '"<volume id>"', text))
