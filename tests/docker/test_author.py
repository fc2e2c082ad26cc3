"""The author's commands in Docker: what `xcore new` writes is checked and tested in the container it will get later."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.harness import XCORE

pytestmark = pytest.mark.docker


def test_an_application_from_the_template_is_checked_and_tested_in_a_container(open_dir: Path) -> None:
    """Its own routes and libraries work there; no container and no file of the commands is left."""
    temporary = open_dir / "tmp"
    temporary.mkdir()
    temporary.chmod(0o755)
    assert (
        _typed(open_dir, "new", "demodocker", "--template", "asgi").splitlines()[-1].endswith("plugin.lock")
    )
    said = _typed(open_dir, "check", "demodocker", "--runtime", "docker")
    assert "demodocker starts in a Docker container; it is an application with routes of its own\n" in said
    said = _typed(
        open_dir,
        "test",
        "demodocker",
        "--runtime",
        "docker",
        "--",
        "-q",
        "-p",
        "no:asyncio",
        "-p",
        "no:cacheprovider",
    )
    assert "xcore: demodocker was served in a Docker container\n" in said
    assert " passed" in said
    assert (_left(), list(temporary.iterdir())) == ([], [])


def _typed(folder: Path, *words: str) -> str:
    """What a command says that succeeds."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("XCORE_", "PYTEST_", "COV_"))}
    environment = {**keep, "TMPDIR": str(folder / "tmp")}
    done = subprocess.run(
        [XCORE, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _left() -> list[str]:
    command = ["docker", "container", "ls", "-aq", "--filter", "label=dev.xcore.plugin=demodocker"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
