"""A start without a network: what `xcore pack` unpacked is all that plugins with dependencies need."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import XCORE, Controller, until
from tests.support import HELLO, write_plugin
from tests.wheels import Index, index

__all__ = ["index"]
CODE = HELLO.replace('f"Hello {name}"', '__import__("tool").VERSION')


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def controller(
    request: pytest.FixtureRequest, index: Index, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Controller]:
    """Over a folder whose plugin is locked and unpacked; since then there is no index, and uv's cache is empty."""
    index.add("tool", "1.5")
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    folder = write_plugin(root / "plugins" / "hello", CODE, dependencies=["tool"])
    monkeypatch.setenv("XCORE_STATE_DIR", str(root / "state"))
    subprocess.run([XCORE, "pack", folder], check=True, capture_output=True, timeout=60)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://index.invalid/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(root / "empty"))
    shutil.rmtree(index.root)
    made = Controller(
        root / "plugins", root / "state", {"XCORE_RUNTIME": request.param, "XCORE_ON_EXIT": "stop"}
    )
    try:
        yield made
    finally:
        if made.process is not None:
            made.stop()
        shutil.rmtree(root)


def test_what_was_packed_serves_without_a_network(controller: Controller) -> None:
    controller.start()
    controller.wait_ready("hello")
    assert controller.call("hello", "greet").json == "1.5"


def test_what_was_not_packed_is_told_and_disturbs_nobody(controller: Controller) -> None:
    """The sentence says what it needs; plugins without dependencies serve."""
    shutil.rmtree(controller.state / "sites")
    write_plugin(controller.plugins / "plain")
    controller.start()
    controller.wait_ready("plain")
    until(lambda: controller.condition("hello", "Accepted")[0] == "False", 20, "a refusal")
    sentence = "the package index cannot be reached, or has tool==1.5 no more; uv's cache does not have it"
    assert controller.condition("hello", "Accepted")[1:] == ("IndexUnavailable", sentence)
    assert list((controller.state / "sites").glob(".staging-*")) == []
