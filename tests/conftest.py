"""Fixtures for every test."""

import shutil
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.cluster.fixtures"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Two processes share the tests: those of one engine, or of one cluster, stay together."""
    for item in items:
        for shared in ("docker", "kubernetes"):
            if item.get_closest_marker(shared):
                item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture
def open_dir():
    """A directory every user can pass through: pytest's own belongs to whoever runs it, and so to root alone."""
    directory = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
