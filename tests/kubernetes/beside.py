"""Controllers beside the cluster, as processes of this machine: no kubelet starts them again, and each has a way in of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cluster.fixtures import Cluster
from tests.harness import Controller


def controller(path: Path, name: str, namespaces: Sequence[str], kubeconfig: Path) -> Controller:
    """One by that name, which is its host's as well: so replicas are told apart. Not started."""
    plugins = path / f"{name}-plugins"
    plugins.mkdir()
    settings = {
        "XCORE_RUNTIME": "kubernetes",
        "XCORE_KUBECONFIG": str(kubeconfig),
        "XCORE_PLUGIN_NAMESPACES": json.dumps(list(namespaces)),
    }
    prefix = ("unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh")
    return Controller(plugins, path / name, settings, prefix)


def kubeconfig(cluster: Cluster, path: Path, *, server: str = "", token: str = "") -> Path:
    """The cluster's own, with another way to the server or another identity."""
    told: dict[str, Any] = json.loads(cluster.kubectl("config", "view", "--raw", "--output=json"))
    if server:
        told["clusters"][0]["cluster"]["server"] = server
    if token:
        told["users"][0]["user"] = {"token": token}
    path.write_text(json.dumps(told))
    path.chmod(0o600)
    return path
