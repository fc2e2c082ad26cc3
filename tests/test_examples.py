"""What `make run` serves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from controller.sites import open_sites
from tests.harness import XCORE, Controller
from xcore.packing.preparation import read_lock
from xcore.packing.target import here
from xcore.packing.uv import Job

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


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What mypy remembers from one example to the next."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_typed(name, cache, tmp_path):
    """Under mypy's strict rules, its tests as well, beside the very libraries its lock names."""
    folder = EXAMPLES / name
    lock = read_lock(folder)
    site = open_sites(tmp_path).take(lock, here(), Job(print)) if lock else ""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", cache]
    checked = subprocess.run(
        [*command, "--explicit-package-bases", *sorted(folder.glob("*.py"))],
        cwd=EXAMPLES.parent,
        env={
            **os.environ,
            "PYTHONPATH": str(site),
        },  # so they count as installed, and are not judged themselves
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert checked.stdout.startswith("Success"), checked.stdout + checked.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_examples_own_tests_pass_wherever_it_lies(name, tmp_path):
    """Copied out of the checkout, with nothing of its settings; and nobody is greeted by a warning."""
    shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XCORE_", "PYTEST_", "COV_"))}
    done = subprocess.run(
        [XCORE, "test", name, "--runtime", "process"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
