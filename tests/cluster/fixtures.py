"""Fixtures of tests marked `kubernetes`: a cluster, started once in a run if none is up, and removed after it.

Such tests come last, while the cluster's programs are built in the background of the others.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import build, enforcer as netpol, lifecycle, node, processes, reach
from tests.cluster.commands import run
from tests.cluster.places import AUDIT_LOG, KUBECONFIG, ROOT, SECOND

BUILDER = pytest.StashKey[subprocess.Popen[bytes]]()
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@dataclass(frozen=True)
class Cluster:
    """A cluster, as its command lines show it. `own`: made here, so its parts can be ended and started."""

    kubeconfig: Path
    kubectl_path: Path
    helm_path: Path
    own: bool

    def kubectl(self, *arguments: str, input: str | None = None, seconds: float = 120) -> str:  # noqa: A002
        """What kubectl printed; ClusterError with its complaint when it fails."""
        return run(
            self.kubectl_path, "--kubeconfig", self.kubeconfig, *arguments, stdin=input, seconds=seconds
        )

    def helm(self, *arguments: str, seconds: float = 180) -> str:
        return run(self.helm_path, "--kubeconfig", self.kubeconfig, *arguments, seconds=seconds)

    def get(self, *arguments: str) -> Any:
        """The object, or the list's items."""
        found = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return found.get("items", found)

    def load(self, *images: str) -> None:
        """Bring images of the Docker engine to the nodes."""
        reach.load(*images)

    def audited(self, text: str = "") -> list[dict[str, Any]]:
        """Who asked the API server for what, since it was started, without bodies; entries that hold a text."""
        self._must_be_own()
        # The last line may still be in the making. Only what is asked for is parsed: there are very many.
        lines = AUDIT_LOG.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if text in line]

    def processes_of(self, namespace: str, pod: str) -> list[int]:
        """The processes in a pod's containers, to be sent signals that its own first process would not get."""
        self._must_be_own()
        containers = self.get("-n", namespace, "pod", pod)["status"]["containerStatuses"]
        names = [entry["containerID"].removeprefix("containerd://") for entry in containers]
        return [pid for name in names for pid in node.processes_of(name)]

    def kill(self, part: str) -> None:
        """End one of its processes at once: kube-apiserver, kube-scheduler, kubelet-node1, …"""
        self._must_be_own()
        processes.kill(part)

    def start(self, part: str) -> None:
        """Start what was ended; an API server is ready, and heard by the others, when this returns."""
        self._must_be_own()
        if part == "kube-apiserver":
            lifecycle.start_api_server_again()
        else:
            processes.start_again(part)

    def _must_be_own(self) -> None:
        assert self.own, "this test needs a cluster of its own: unset KUBECONFIG and run it as root"


class SecondNode:
    """Another node on the same machine."""

    name = SECOND.name

    def lose(self) -> None:
        """Its kubelet ends without a word; the pods on it go on, as behind a cut cable."""
        processes.kill(SECOND.kubelet)

    def come_back(self) -> None:
        processes.start_again(SECOND.kubelet)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that KUBECONFIG names, else the machine's own test cluster."""
    started = False
    if kubeconfig := reach.named():
        tools = build.programs()
    else:
        started = lifecycle.up()
        tools = lifecycle.programs()
    try:
        yield Cluster(Path(kubeconfig or KUBECONFIG), tools / "kubectl", tools / "helm", own=not kubeconfig)
    finally:
        if started:
            lifecycle.down()


@contextmanager
def restricted_namespace(cluster: Cluster) -> Iterator[str]:
    """A new one, which takes restricted pods and no others."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    try:
        cluster.kubectl("label", "namespace", name, RESTRICTED)
        # Made by a controller, soon; without it no pod is taken.
        cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=60s")
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own, which takes restricted pods and no others."""
    with restricted_namespace(cluster) as name:
        yield name


@pytest.fixture
def second_node(cluster: Cluster) -> Iterator[SecondNode]:
    """A second node, for as long as the test lasts."""
    assert cluster.own, "a second node needs a cluster of its own: unset KUBECONFIG and run this as root"
    try:
        lifecycle.add_second_node()
        yield SecondNode()
    finally:
        lifecycle.remove_second_node()


@pytest.fixture
def enforcer(cluster: Cluster) -> Iterator[Callable[[bool], None]]:
    """NetworkPolicies are in force: `enforcer(False)` ends that, `enforcer(True)` begins it again."""
    assert cluster.own, "the enforcer needs a cluster of its own: unset KUBECONFIG and run this as root"

    def switch(on: bool) -> None:
        (netpol.on if on else netpol.off)()

    switch(True)
    yield switch
    switch(False)


# -- order, time, and the build in the background ------------------------------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a cluster comes last; the time it takes to have one is not the first test's."""
    for item in items:
        if item.get_closest_marker("kubernetes") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(180, func_only=True))
    items.sort(key=lambda item: item.get_closest_marker("kubernetes") is not None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is not built yet beside the tests that come first."""
    wanted = any(item.get_closest_marker("kubernetes") for item in session.items)
    if not wanted or session.config.option.collectonly or build.folder().exists():
        return
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        return  # another process of this run does
    # In our process group: whoever ends the tests as a whole ends this as well.
    session.config.stash[BUILDER] = subprocess.Popen(
        (sys.executable, "-m", "tests.cluster", "build"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    builder = session.config.stash.get(BUILDER, None)
    if builder is None:
        return
    if builder.poll() is None:
        builder.send_signal(signal.SIGTERM)
    try:
        builder.wait(20)
    except subprocess.TimeoutExpired:
        builder.kill()
        builder.wait()
