"""`xcore pack --image`: the image of a plugin answers as the plugin's folder does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import Running
from tests.docker.test_parity import HELLO, REQUESTS, VARYING
from tests.harness import Controller

pytestmark = pytest.mark.docker
XCORE = Path(sys.executable).with_name("xcore")
TAG = "xcore/test-packed-hello:1"


@pytest.fixture
def image(tmp_path: Path) -> Iterator[dict[str, Any]]:
    environment = {**os.environ, "XCORE_STATE_DIR": str(tmp_path / "state")}
    command = [str(XCORE), "pack", "--image", "-t", TAG, "-o", "json", str(HELLO)]
    packed = subprocess.run(command, check=True, capture_output=True, timeout=120, env=environment)
    yield json.loads(packed.stdout)
    subprocess.run(["docker", "rmi", "--force", TAG], check=False, capture_output=True, timeout=60)


def answers(controller: Controller) -> list[Any]:
    controller.wait_ready("hello")
    heard = []
    for method, path, options in REQUESTS:
        answer = controller.request(method, path, headers={"X-Request-ID": "same"}, **options)
        kept = [(k, v) for k, v in answer.headers.multi_items() if k not in VARYING]
        heard.append((method, path, answer.status, kept, answer.content))
    controller.stop()
    return heard


def manifest(**source: Any) -> str:
    runner = {"startup": "/startup", "readiness": "/ready", "liveness": "/live"}
    probes = {kind: {"path": path} for kind, path in runner.items()}
    spec = {
        "version": "1.0.0",
        **({"source": source, "probes": probes} if source else {"entrypoint": "main:Hello"}),
    }
    resource = {
        "apiVersion": "xcore.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": "hello"},
        "spec": spec,
    }
    return json.dumps(resource)


def test_a_packed_image_answers_as_its_folder_does(running: Running, image: dict[str, Any]) -> None:
    """Same requests, good and bad, same status, fields and bytes; on a unix socket as on a port."""
    folder = running.plugins / "hello"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text((HELLO / "main.py").read_text())
    (folder / "plugin.yaml").write_text(manifest())
    expected = answers(running.controller())
    (folder / "plugin.yaml").write_text(manifest(**image["source"]))
    assert answers(running.controller()) == expected
    (folder / "plugin.yaml").write_text(manifest(image=TAG, port=8080))
    assert answers(running.controller()) == expected
