"""Fixtures for every test."""

import shutil
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.cluster.fixtures"]


@pytest.fixture
def open_dir():
    """A directory every user can pass through: pytest's own belongs to whoever runs it, and so to root alone."""
    directory = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
