"""What tests of controllers and commands share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Controller


@pytest.fixture(scope="module")
def running() -> Iterator[Controller]:
    """A controller without plugins of its own, for the tests of a module."""
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    (root / "plugins").mkdir()
    made = Controller(root / "plugins", root / "state", {"XCORE_RUNTIME": "process"})
    made.start()
    yield made
    made.stop()
    shutil.rmtree(root)


@pytest.fixture
def temporary(open_dir):
    """Where commands keep what is theirs; a test ends with nothing in it."""
    (open_dir / "tmp").mkdir()
    (open_dir / "tmp").chmod(0o755)
    yield open_dir / "tmp"
    assert list((open_dir / "tmp").iterdir()) == []
