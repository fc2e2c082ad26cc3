"""Packing without a network."""

import pytest

from tests.support import manifest
from tests.wheels import index
from xcore.packing.resolve import resolve

__all__ = ["index"]
PROVIDED = {"click": "8.5.1", "msgspec": "0.22.0"}


@pytest.fixture
def lock(index):
    """Resolve these dependencies from the index of the test."""

    def resolved(*dependencies, before=None, provided=PROVIDED):
        return resolve(manifest(dependencies=list(dependencies)), before, provided, index.job())

    return resolved
