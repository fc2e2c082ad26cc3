"""A plugin the operator trusts runs in every controller of a cluster; one that a resource calls trusted never does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cluster.fixtures import Cluster
from tests.harness import Controller, until
from tests.support import document

pytestmark = pytest.mark.kubernetes
CLOCK = Path(__file__).parents[2] / "examples" / "clock"
CLASH = document("clock", source={"image": "x.invalid/y:1"})
del CLASH["spec"]["entrypoint"]


def accepted(cluster: Cluster, namespace: str) -> dict[str, str]:
    """What is told of the resource that wants the name of a trusted plugin."""
    status = cluster.get("plugin", "clock", "--namespace", namespace).get("status", {})
    told: dict[str, str] = next(iter(status.get("conditions", ())), {"reason": ""})
    return told


def test_trusted_plugins_run_beside_those_of_the_cluster(
    cluster: Cluster, namespace: str, definitions: None, open_dir: Path
) -> None:
    """From a folder of the controller's own: served, and told as what it is. A sandboxed folder is refused by name.

    A resource that wants the name of a trusted one is told who has it, and nothing of it runs.
    """
    shutil.copytree(CLOCK, open_dir / "plugins" / "clock")
    lost = open_dir / "plugins" / "lost"
    lost.mkdir()
    (lost / "plugin.yaml").write_text(json.dumps(document("lost")))
    settings = {
        "XCORE_RUNTIME": "kubernetes",
        "XCORE_KUBECONFIG": str(cluster.kubeconfig),
        "XCORE_PLUGIN_NAMESPACES": json.dumps([namespace]),
        "XCORE_TRUSTED": json.dumps(["clock"]),
    }
    controller = Controller(open_dir / "plugins", open_dir / "state", settings)
    controller.start()
    try:
        controller.wait_ready("clock", 60)
        assert controller.request("POST", "/app/clock/now", json={}).status == 200
        status = controller.request("GET", "/api/v1/plugins/clock/status").json
        assert status["runtime"] == "inprocess"
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(CLASH))
        until(lambda: accepted(cluster, namespace)["reason"] == "RouteConflict", 20)
        assert accepted(cluster, namespace)["message"] == "the folder clock already has the name clock"
        assert controller.request("POST", "/app/clock/now", json={}).status == 200
        refused = controller.request("GET", "/api/v1/plugins/lost/status").json
        assert refused["conditions"][0]["reason"] == "NotSupported"
        assert "source.folder" in refused["conditions"][0]["message"]
    finally:
        controller.stop()
    assert cluster.get("pods", "--namespace", namespace) == []
