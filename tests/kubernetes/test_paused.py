"""A leader is stopped for half a minute, then goes on as if nothing had been; no kubelet ends it meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.fixtures import Cluster
from tests.harness import KEY, Controller
from tests.kubernetes import beside
from tests.kubernetes.serving import PER_SECOND, calling, until

pytestmark = pytest.mark.kubernetes
PAUSED, TAKEOVER = 30, 17.0
HELLO = Path(__file__).parents[2] / "examples/kubernetes/hello.yaml"
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
NAMES = ("first", "second")


class Replicas:
    """Two controllers, each known to the API server by a name of its own."""

    def __init__(self, cluster: Cluster, namespace: str, controllers: dict[str, Controller]) -> None:
        self.cluster, self.namespace, self.controllers = cluster, namespace, controllers

    def lease(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("lease", "xcore-controller", "-n", self.namespace)["spec"]
        return found

    def scale(self, replicas: int) -> None:
        self.cluster.kubectl("scale", "plg/hello", "-n", self.namespace, f"--replicas={replicas}")

    def carried_out(self, replicas: int) -> bool:
        found = self.cluster.get("deployment", "xcore-hello", "-n", self.namespace)
        return bool(found["spec"]["replicas"] == replicas)

    def asked(self, name: str, *, since: str) -> list[dict[str, Any]]:
        """What a replica asked of the API server after a moment."""
        user = f"system:serviceaccount:{self.namespace}:{name}"
        return [
            entry
            for entry in self.cluster.audited(user)
            if entry["user"]["username"] == user and entry["requestReceivedTimestamp"] > since
        ]


@pytest.fixture
def replicas(
    cluster: Cluster, namespace: str, tmp_path: Path, definitions: None, sandbox_image: str
) -> Iterator[Replicas]:
    cluster.kubectl("apply", "-n", namespace, "-f", str(HELLO))
    made = {}
    for name in NAMES:
        account = f"{namespace}:{name}"
        cluster.kubectl("create", "serviceaccount", name, "-n", namespace)
        role = ("clusterrolebinding", f"{namespace}-{name}", "--clusterrole=cluster-admin")
        cluster.kubectl("create", *role, f"--serviceaccount={account}")
        token = cluster.kubectl("create", "token", name, "-n", namespace).strip()
        way = beside.kubeconfig(cluster, tmp_path / f"{name}.kubeconfig", token=token)
        made[name] = beside.controller(tmp_path, name, [namespace], way)
    try:
        for controller in made.values():
            controller.start()
        for controller in made.values():
            controller.wait_ready("hello", 60)
        yield Replicas(cluster, namespace, made)
    finally:
        for name, controller in made.items():
            if controller.process is not None:
                controller.stop()
            cluster.kubectl("delete", "clusterrolebinding", f"{namespace}-{name}")


async def test_a_leader_stopped_for_30_seconds_writes_nothing_after_it_lost_the_lease(
    replicas: Replicas,
) -> None:
    """The other one leads within 17 s and answers every call; continued, the old one looks on, and the audit log says so."""
    leader = replicas.lease()["holderIdentity"]
    old, (other,) = replicas.controllers[leader], [c for n, c in replicas.controllers.items() if n != leader]
    assert old.process is not None
    async with calling(other.url, KEY) as calls:
        os.kill(old.process.pid, signal.SIGSTOP)
        try:
            replicas.scale(2)
            took = await until(lambda: replicas.carried_out(2), "a leader", seconds=TAKEOVER, every=0.25)
            since = replicas.lease()["acquireTime"]
            await calls.more(PAUSED * PER_SECOND - calls.answered)
        finally:
            os.kill(old.process.pid, signal.SIGCONT)
        # All the while it led it had this to do; now the other one has.
        replicas.scale(1)
        await until(
            lambda: len(replicas.asked(leader, since=since)) > 9, "the old one's questions", seconds=30
        )
        await until(lambda: replicas.carried_out(1), "the new leader's work", seconds=10)
        await asyncio.to_thread(old.wait_ready, "hello", 30)
    assert calls.failed == {}
    written = [entry for entry in replicas.asked(leader, since=since) if entry["verb"] in WRITES]
    assert [entry["requestURI"] for entry in written] == []
    assert replicas.lease()["holderIdentity"] != leader
    print(f"takeover after {took:.1f} s, {calls.answered} calls answered")
