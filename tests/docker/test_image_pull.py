"""A real pull from a real registry: by tag and by digest, pinned, and told while it lasts."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker import images
from tests.docker.conftest import Running
from tests.docker.test_image import declare, serving
from tests.harness import until

pytestmark = pytest.mark.docker

CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def accepts(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def registry() -> Iterator[str]:
    program = shutil.which("docker-registry")
    assert program, "docker-registry is missing: `tools/setup.sh registry` installs it"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as root:
        config, log = Path(root, "config.yml"), Path(root, "log")
        config.write_text(CONFIG.format(root=f"{root}/data", port=port))
        with log.open("wb") as output:
            process = subprocess.Popen([program, "serve", str(config)], stdout=output, stderr=output)
        try:
            until(lambda: accepts(port), 20, "the registry")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def test_what_the_engine_lacks_is_pulled_and_what_served_serves_meanwhile(
    running: Running, registry: str
) -> None:
    """By tag, then by a digest that no tag names any more."""
    local = images.build("pulled", *images.RUN)
    tag = f"{registry}/team/pulled:1"
    try:
        running.engine.run("tag", local, tag)
        running.engine.run("push", "--quiet", tag)
        digest = running.engine.run("image", "inspect", "-f", "{{index .RepoDigests 0}}", tag).strip()
        image = running.engine.run("image", "inspect", "-f", "{{.Id}}", tag).strip()
        images.remove(tag, digest, local)
        controller = serving(running, tag)
        assert controller.status("web")["image"] == image
        before = controller.status("web")["currentRevision"]
        declare(running, "web", digest)
        until(lambda: controller.resource("web")["spec"]["source"]["image"] == digest, 30, "the digest")
        controller.wait_ready("web")
        after = controller.status("web")
        assert (after["image"], after["restarts"]["count"]) == (image, 0)
        assert after["currentRevision"] != before, "the manifest says something else now"
    finally:
        images.remove(tag, local)


def test_a_tag_the_registry_does_not_know_is_told_in_its_own_words(running: Running, registry: str) -> None:
    declare(running, "web", f"{registry}/team/nothing:1")
    controller = running.controller()
    until(lambda: controller.condition("web", "ImageVerified")[1] == "ImagePull", 40, "ImagePull")
    message = controller.condition("web", "ImageVerified")[2]
    assert "team/nothing:1 cannot be pulled" in message
    assert running.engine.containers("web") == []
