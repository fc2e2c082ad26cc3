"""Fixtures for tests marked `kubernetes`."""

import pytest

from sandbox_image.tag import image_tag
from tests.cluster.fixtures import Cluster


@pytest.fixture(scope="session")
def sandbox_image(cluster: Cluster) -> str:
    """The sandbox image, on every node there is."""
    cluster.load(image_tag())
    return image_tag()
