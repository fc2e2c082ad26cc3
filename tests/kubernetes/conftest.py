"""Fixtures for tests marked `kubernetes`."""

import pytest

from controller.image import tag as controller
from sandbox_image.tag import image_tag
from tests.cluster.fixtures import Cluster


@pytest.fixture(scope="session")
def sandbox_image(cluster: Cluster) -> str:
    """The sandbox image, on every node there is."""
    cluster.load(image_tag())
    return image_tag()


@pytest.fixture(scope="session")
def controller_image(cluster: Cluster, sandbox_image: str) -> str:
    """The controller's image, on every node there is; beside that of the sandboxes it starts."""
    cluster.load(controller.image_tag(), controller.release_tag())
    return controller.image_tag()
