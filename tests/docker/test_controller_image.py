"""The controller's image: hardened, quick to start, named by what it holds."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version

import pytest

from controller.image.tag import image_tag
from sandbox_image.tag import image_tag as sandbox_tag
from tests.harness import KEY, until

pytestmark = pytest.mark.docker
START_SECONDS = 2.0
HARDENED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"),
    *("--tmpfs", "/tmp", "--tmpfs", "/var/lib/xcore:mode=0777"),
)
SETTINGS = {
    "XCORE_RUNTIME": "process",
    "XCORE_STATE_DIR": "/var/lib/xcore/state",
    "XCORE_ADMIN_KEY": KEY,
}


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def container() -> Iterator[str]:
    """One as a pod would run it, but with child processes for sandboxes."""
    name = f"xcore-test-{secrets.token_hex(4)}"
    told = [word for key, value in SETTINGS.items() for word in ("--env", f"{key}={value}")]
    docker("run", "--detach", "--name", name, *HARDENED, *told, image_tag())
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def seconds_to_listen(name: str) -> float:
    """From the container's start to the line that says where it listens."""

    def listens() -> str:
        said = subprocess.run(["docker", "logs", "-t", name], capture_output=True, text=True, check=True)
        return next((line for line in said.stdout.splitlines() if "xcore listens on" in line), "")

    line = until(listens, 30, "the controller's start")
    started = docker("inspect", "--format", "{{.State.StartedAt}}", name).strip()
    then, now = (datetime.fromisoformat(f"{moment[:26]}+00:00") for moment in (started, line))
    return (now - then).total_seconds()


def test_it_starts_in_two_seconds_and_ends_when_told(container):
    """Read-only, without a capability or a network, as nobody."""
    assert seconds_to_listen(container) < START_SECONDS
    assert docker("exec", container, "id", "-u").strip() == "65532"
    docker("stop", "--time", "20", container)
    assert json.loads(docker("inspect", container))[0]["State"]["ExitCode"] == 0


def test_it_belongs_to_this_code():
    """Its name is made of what it holds, and it holds what the names of both images are made of."""
    script = "from controller.image.tag import image_tag as c; from sandbox_image.tag import image_tag as s; print(c(), s())"
    command = ("run", "--rm", "--network", "none", "--entrypoint", "python3", image_tag(), "-c", script)
    assert docker(*command).split() == [image_tag(), sandbox_tag()]


def test_the_command_is_in_it(container):
    """For whoever runs something in the pod: the version, and what the doctor finds; without Docker's client."""
    assert docker("exec", container, "xcore", "--version").strip() == version("xcore-platform")
    looked = subprocess.run(
        ["docker", "exec", container, "xcore", "doctor", "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = {finding["check"]: finding["level"] for finding in json.loads(looked.stdout)["findings"]}
    assert found["settings"] == "ok", looked.stdout
    absent = "import importlib.util as u; print(u.find_spec('docker'))"
    assert docker("exec", container, "python3", "-c", absent).strip() == "None"


def test_nothing_in_it_is_set_uid_and_its_code_is_not_writable():
    script = "find / -xdev -perm /6000 -type f; find /opt/xcore /plugins -writable"
    command = ("run", "--rm", "--network", "none", "--entrypoint", "sh", image_tag(), "-c", script)
    assert docker(*command) == ""
