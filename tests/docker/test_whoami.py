"""The example container as it is, through a real controller."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sandbox_image.tag import image_tag
from tests.docker.conftest import Running

pytestmark = pytest.mark.docker

HERE = Path(__file__).parents[2] / "examples/containers/whoami"
IMAGE = "xcore/whoami:1"


def docker(*arguments: str) -> str:
    command = ["docker", *arguments]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "DOCKER_BUILDKIT": "0"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=300, env=environment
    ).stdout.strip()


@pytest.fixture(scope="module")
def image() -> str:
    """Build it on whatever the sandbox image is built on: that is here."""
    base = docker("image", "inspect", "--format", '{{index .Config.Labels "dev.xcore.base"}}', image_tag())
    docker("build", "--quiet", "--build-arg", f"BASE_IMAGE={base}", "--tag", IMAGE, str(HERE))
    return IMAGE


@pytest.mark.usefixtures("image")
def test_it_tells_what_reached_it(running: Running) -> None:
    """Its own paths below the prefix, redirects that stay there, keys checked in front of it."""
    folder = running.plugins / "whoami"
    folder.mkdir(parents=True)
    (folder / "plugin.yaml").write_text((HERE / "plugin.yaml").read_text())
    controller = running.controller()
    controller.wait_ready("whoami")
    answer = controller.request("GET", "/app/whoami/who/am?i=1", headers={"X-Request-ID": "r-1"})
    said = dict(line.split(": ", 1) for line in answer.content.decode().splitlines()[1:])
    assert answer.content.startswith(b"GET /who/am?i=1\n")
    assert (said["prefix"], said["for"], said["request"]) == ("/app/whoami", "127.0.0.1", "r-1")
    assert controller.request("GET", "/app/whoami/old").headers["location"] == "/app/whoami/new"
    no_key = {"headers": {"Authorization": ""}}
    assert controller.request("GET", "/app/whoami/public", **no_key).status == 200
    assert controller.request("GET", "/app/whoami/private", **no_key).status == 401
    assert controller.status("whoami")["restarts"]["count"] == 0
