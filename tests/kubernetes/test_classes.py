"""What a PluginClass demands of a plugin, in a cluster: a rating, and egress for those who say nothing of it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.fixtures import Cluster
from tests.harness import Controller, until
from tests.support import HELLO, document
from xcore import crd

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def controller(cluster: Cluster, namespace: str, open_dir: Path) -> Iterator[Controller]:
    """One beside the cluster; ConfigMap `code` holds a plugin."""
    cluster.kubectl("apply", "-f", "-", input="\n---\n".join(json.dumps(item) for item in crd.definitions()))
    cluster.kubectl("-n", namespace, "create", "configmap", "code", f"--from-literal=main.py={HELLO}")
    settings = {
        "XCORE_RUNTIME": "kubernetes",
        "XCORE_KUBECONFIG": str(cluster.kubeconfig),
        "XCORE_PLUGIN_NAMESPACES": json.dumps([namespace]),
    }
    (open_dir / "plugins").mkdir()
    made = Controller(open_dir / "plugins", open_dir / "state", settings)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def classed(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Make a class of this spec; gives its name."""
    names = []

    def make(**spec: Any) -> str:
        names.append(f"class-{secrets.token_hex(3)}")
        made = {
            "apiVersion": "xcore.dev/v1alpha1",
            "kind": "PluginClass",
            "metadata": {"name": names[-1]},
            "spec": spec,
        }
        cluster.kubectl("create", "-f", "-", input=json.dumps(made))
        return names[-1]

    yield make
    cluster.kubectl("delete", "pluginclass", *names)


def test_a_rating_is_shown_and_a_class_may_demand_one(
    cluster: Cluster, namespace: str, sandbox_image: str, controller: Controller, classed: Callable[..., str]
) -> None:
    """Without an enforcer a pod has 5. More than any pod can have is refused with what would help; what takes a closed network waits for one."""

    def apply(name: str, **spec: Any) -> None:
        wanted = document(name, source={"configMap": "code"}, **spec)
        cluster.kubectl("-n", namespace, "create", "-f", "-", input=json.dumps(wanted))

    def condition(name: str, kind: str) -> tuple[str, str, str]:
        return controller.condition(name, kind)

    def row(name: str) -> dict[str, str]:
        said = cluster.kubectl("-n", namespace, "get", "plg", name, "-o", "wide").splitlines()
        return dict(zip(said[0].split(), said[1].split(), strict=False))

    apply("free")
    apply("closed", pluginClassName=classed(minimumSecurityRating=7))
    apply("beyond", pluginClassName=classed(minimumSecurityRating=8))
    open_class = classed(egress={"default": "PublicInternet"})
    apply("silent", pluginClassName=open_class)
    apply("outspoken", pluginClassName=open_class, network={"egress": "Deny"}, operatingMode="Suspended")

    until(lambda: condition("beyond", "Accepted")[1] == "ClassForbids", 20)
    assert (
        "at least 8, and is 7 at best; more would be: spec.runtimeClass" in condition("beyond", "Accepted")[2]
    )
    assert condition("silent", "Accepted")[1] == "NotSupported"
    assert f"egress.default of the class {open_class}" in condition("silent", "Accepted")[2]
    assert condition("outspoken", "Accepted")[0] == "True"

    until(lambda: condition("free", "NetworkIsolated")[1] == "NotEnforced", 60)
    until(lambda: condition("closed", "Ready")[1] == "NotEnforced", 60)
    assert controller.call("free", "greet").status == 200
    assert controller.call("closed", "greet").status == 503
    until(lambda: row("free")["RATING"] == "5", 10)
