"""Pods keep the promises of every runtime, on a real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandbox_image.tag import image_tag
from tests.cluster.fixtures import RESTRICTED, Cluster
from tests.conformance.support import RealContract, Workshop
from xcore.runtimes.kubernetes import pod
from xcore.runtimes.kubernetes.client import Cluster as Reached, connect
from xcore.runtimes.kubernetes.objects import Surroundings
from xcore.runtimes.kubernetes.runtime import KubernetesRuntime
from xcore.runtimes.seams import Runtime

pytestmark = pytest.mark.kubernetes


class Alone(KubernetesRuntime):
    """With a client of its own."""

    def __init__(self, reached: Reached, namespace: str) -> None:
        surroundings = Surroundings(image=image_tag(), default_namespace=namespace)
        super().__init__(reached, surroundings, namespaces=[namespace])
        self._reached = reached

    async def aclose(self) -> None:
        await super().aclose()
        await self._reached.aclose()


class TestKubernetes(RealContract):
    """An owner is a namespace."""

    PAUSE = 0.1

    @pytest.fixture(autouse=True)
    def _surroundings(
        self, cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Any:
        monkeypatch.setattr(pod, "LINGER_SECONDS", 1)  # nobody sends requests here
        self.cluster, self.namespace, self.workshop = cluster, namespace, Workshop(tmp_path)
        cluster.load(image_tag())
        yield
        cluster.kubectl("delete", "namespace", f"{namespace}-another", "--ignore-not-found", "--wait=false")

    async def leave(self, runtime: Runtime) -> None:
        """The namespace goes, with all that is in it: the next test does not wait for that."""
        await runtime.aclose()

    async def make(self, owner: str = "first") -> Runtime:
        namespace = self.namespace if owner == "first" else f"{self.namespace}-{owner}"
        if owner != "first":
            self.cluster.kubectl("create", "namespace", namespace)
            self.cluster.kubectl("label", "namespace", namespace, RESTRICTED)
        runtime = Alone(await connect(str(self.cluster.kubeconfig)), namespace)
        await runtime.open()
        return runtime
