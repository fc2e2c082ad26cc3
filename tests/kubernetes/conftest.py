"""Fixtures for tests marked `kubernetes`."""

import json
from collections.abc import Callable, Iterator

import pytest

from controller.image import tag as controller
from sandbox_image.tag import image_tag
from tests.cluster.fixtures import Cluster
from tests.cluster.places import FIRST
from tests.integrations.postgresql import Server
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
def database_of(cluster: Cluster) -> Iterator[Callable[[Release], dict[str, str]]]:
    """Give a release a database of its own, as values of the chart: in a PostgreSQL outside, which pods reach on the node's address."""
    assert cluster.own, "pods must reach this machine: unset KUBECONFIG and run this as root"
    server = Server(FIRST.address)

    def give(release: Release) -> dict[str, str]:
        name = release.name.replace("-", "_")
        server.sql(f"CREATE DATABASE {name} OWNER xcore")
        url = f"postgresql://xcore:between-us@{FIRST.address}/{name}"
        made = ("create", "secret", "generic", "database", f"--from-literal=url={url}")
        cluster.kubectl(*made, "--namespace", release.name)
        return {"database.existingSecret": "database"}

    try:
        server.start()
        server.sql("CREATE ROLE xcore LOGIN PASSWORD 'between-us'")
        yield give
    finally:
        server.remove()


@pytest.fixture(scope="session")
def pair(
    cluster: Cluster, controller_image: str, database_of: Callable[[Release], dict[str, str]]
) -> Iterator[Release]:
    """Two controllers in the cluster, installed by Helm; one instance of hello that serves."""
    with released(cluster, controller_image.rpartition(":")[2]) as release:
        values = {"replicas": "2", **database_of(release)}
        release.helm("install", "--wait", "--timeout=120s", **values)
        hello = str(ROOT / "examples/kubernetes/hello.yaml")
        cluster.kubectl("apply", "-n", release.plugins, "-f", hello)
        cluster.kubectl(
            "wait", "--for=condition=Ready", "plugin/hello", "-n", release.plugins, "--timeout=60s"
        )
        yield release
