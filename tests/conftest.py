"""Fixtures for every test."""

import shutil
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.cluster.fixtures"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Two processes share the tests: those of one engine, or of one cluster, stay together.

    What takes minutes (`soak`) runs only when it is asked for.
    """
    if "soak" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
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
