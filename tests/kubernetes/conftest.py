"""Fixtures for tests marked `kubernetes`."""

import json
from collections.abc import Iterator

import pytest

from controller.image import tag as controller
from sandbox_image.tag import image_tag
from tests.cluster.fixtures import Cluster
from tests.kubernetes.release import Release, released
from tests.kubernetes.rendering import ROOT
from xcore import crd


@pytest.fixture(scope="session")
def sandbox_image(cluster: Cluster) -> str:
    """The sandbox image, on every node there is."""
    cluster.load(image_tag())
    return image_tag()


@pytest.fixture(scope="session")
def controller_image(cluster: Cluster) -> str:
    """The controller's image, on every node there is; beside that of the sandboxes it starts."""
    cluster.load(image_tag(), controller.image_tag(), controller.release_tag())
    return controller.image_tag()


@pytest.fixture(scope="session")
def definitions(cluster: Cluster) -> None:
    """What a Plugin is; the definitions stay, for they may have been there before."""
    wanted = json.dumps({"apiVersion": "v1", "kind": "List", "items": crd.definitions()})
    cluster.kubectl("apply", "--filename=-", input=wanted)
    cluster.kubectl("wait", "--for=condition=Established", "crd/plugins.xcore.dev", "--timeout=30s")


@pytest.fixture(scope="session")
def pair(cluster: Cluster, controller_image: str) -> Iterator[Release]:
    """Two controllers in the cluster, installed by Helm; one instance of hello that serves."""
    with released(cluster, controller_image.rpartition(":")[2]) as release:
        release.helm("install", "--wait", "--timeout=90s", replicas="2")
        hello = str(ROOT / "examples/kubernetes/hello.yaml")
        cluster.kubectl("apply", "-n", release.plugins, "-f", hello)
        cluster.kubectl(
            "wait", "--for=condition=Ready", "plugin/hello", "-n", release.plugins, "--timeout=60s"
        )
        yield release
