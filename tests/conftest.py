"""Fixtures for every test."""

import shutil
import tempfile
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["tests.cluster.fixtures", "tests.integrations.fixtures"]
OF_THE_CLUSTER = ("tests/kubernetes/", "tests/cluster/", "tests/conformance/test_kubernetes.py")
RENDERED = "tests/kubernetes/test_chart.py"  # needs programs of the cluster, and none that runs


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """What takes minutes (`soak`) runs only when it is asked for."""
    if "soak" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


class OneCluster(LoadScopeScheduling):
    """Two processes share the tests, one by one; those of the one cluster stay together, for they end parts of it."""

    def _split_scope(self, nodeid):
        together = nodeid.startswith(OF_THE_CLUSTER) and not nodeid.startswith(RENDERED)
        return "cluster" if together else nodeid


def pytest_xdist_make_scheduler(config, log):
    return OneCluster(config, log)


@pytest.fixture
def open_dir():
    """A directory every user can pass through: pytest's own belongs to whoever runs it, and so to root alone."""
    directory = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
