"""A piece of a node's disk for one claim."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster.fixtures import Cluster


@contextmanager
def volume(
    cluster: Cluster, namespace: str, claim: str, directory: Path, size: str = "1Gi"
) -> Iterator[None]:
    """For the claim of that name alone; what is in it stays with its directory."""
    spec = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": str(directory)},
        "claimRef": {"namespace": namespace, "name": claim},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    made = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": spec}
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(made))
    try:
        yield
    finally:
        cluster.kubectl("delete", "persistentvolume", namespace, "--wait=false")
