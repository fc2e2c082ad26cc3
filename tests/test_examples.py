"""What `make run` serves."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.harness import Controller

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(manifest.parent.name for manifest in EXAMPLES.glob("*/plugin.yaml"))


@pytest.mark.parametrize("runtime", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_every_example_comes_up(runtime):
    """With what is committed and nothing else: the locks fit, the code starts, the status says Ready."""
    with tempfile.TemporaryDirectory(prefix="xcore-test-") as root:
        Path(root).chmod(0o755)
        settings = {"XCORE_RUNTIME": runtime, "XCORE_ON_EXIT": "stop", "XCORE_TRUSTED": '["clock"]'}
        controller = Controller(EXAMPLES, Path(root, "state"), settings)
        controller.start()
        try:
            for name in NAMES:
                controller.wait_ready(name, 90)
        finally:
            controller.stop()
