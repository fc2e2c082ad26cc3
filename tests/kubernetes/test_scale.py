"""A plugin is scaled and deleted by kubectl, with the controller in the cluster."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.cluster.commands import wait_for
from tests.kubernetes.release import Release
from tests.kubernetes.serving import service_of

pytestmark = pytest.mark.kubernetes
WHO = """
apiVersion: v1
kind: ConfigMap
metadata: {name: who-code}
data:
  main.py: |
    import uuid
    from xcore.plugin import Plugin, action

    ME = uuid.uuid4().hex


    class Who(Plugin):
        @action(safe=True)
        async def am_i(self) -> str:
            return ME
---
apiVersion: xcore.dev/v1alpha1
kind: Plugin
metadata: {name: who}
spec: {version: 1.0.0, source: {configMap: who-code}, entrypoint: "main:Who"}
"""
MADE = "deployments,replicasets,pods,networkpolicies,poddisruptionbudgets,configmaps,controllerrevisions"


@pytest.fixture(scope="module")
def who(pair: Release) -> Iterator[Release]:
    """A plugin that tells which instance answers, of which there is one."""
    at = ("-n", pair.plugins)
    pair.cluster.kubectl("apply", *at, "-f", "-", input=WHO)
    pair.cluster.kubectl("wait", "--for=condition=Ready", "plugin/who", *at, "--timeout=60s")
    yield pair
    pair.cluster.kubectl("delete", "plugin/who", "configmap/who-code", *at, "--ignore-not-found")


def test_scaling_to_three_spreads_calls_over_three(who: Release) -> None:
    """`kubectl scale` is enough; the columns tell, and every instance gets calls."""
    cluster, at = who.cluster, ("plg/who", "-n", who.plugins)
    cluster.kubectl("scale", *at, "--replicas=3")
    cluster.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=3", *at, "--timeout=60s")
    headers = {"Authorization": f"Bearer {who.key()}"}
    with httpx.Client(base_url=service_of(who), headers=headers, trust_env=False) as client:
        answers = [client.post("/app/who/am_i") for _ in range(60)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 3
    row = cluster.kubectl("get", *at, "--no-headers").split()
    assert row[:6] == ["who", "True", "Ready", "3", "0", "1.0.0"]
    # What an autoscaler reads: its instances, and nothing that is beside them for a moment.
    selector = cluster.get(*at)["status"]["selector"]
    assert len(cluster.get("pods", "-n", who.plugins, f"--selector={selector}")) == 3


def test_deleting_it_leaves_no_object(who: Release) -> None:
    """Nothing that was made for it is there a little later, but for what its author made."""
    at = ("-n", who.plugins)
    assert who.cluster.get(MADE, *at, "--selector=xcore.dev/plugin=who") != []
    who.cluster.kubectl("delete", "plugin/who", *at)
    wait_for(
        lambda: who.cluster.get(MADE, *at, "--selector=xcore.dev/plugin=who") == [],
        "nothing left",
        seconds=40,
    )
    assert who.cluster.get("configmap", "who-code", *at)["data"]
