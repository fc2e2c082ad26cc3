"""One release of the chart, in namespaces of its own."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cluster.fixtures import RESTRICTED, Cluster
from tests.kubernetes.rendering import CHART

KINDS = (
    "deployments,services,serviceaccounts,secrets,configmaps,roles,rolebindings,networkpolicies,poddisruptionbudgets,"
    "resourcequotas,limitranges,pods,clusterroles,clusterrolebindings,namespaces"
)


@dataclass(frozen=True)
class Release:
    cluster: Cluster
    name: str
    tag: str

    @property
    def plugins(self) -> str:
        """Namespace of its plugins."""
        return f"{self.name}-plugins"

    def helm(self, verb: str, *more: str, **values: str) -> str:
        """Install or upgrade; other releases may have left the definitions."""
        told = {"image.tag": self.tag, "pluginNamespaces[0]": self.plugins, **values}
        words = [word for name, value in told.items() for word in ("--set", f"{name}={value}")]
        place = ("--namespace", self.name, "--take-ownership", *more)
        return self.cluster.helm(verb, "xcore", str(CHART), *place, *words)

    def key(self) -> str:
        data = self.cluster.get("secret", "xcore-admin-key", "--namespace", self.name)["data"]
        return base64.b64decode(data["admin-key"]).decode()

    def left(self) -> set[str]:
        """Everything of the chart that there is."""
        ours = self.cluster.get(KINDS, "--all-namespaces", "--selector=app.kubernetes.io/name=xcore")
        places = {self.name, self.plugins}
        return {
            f"{item['kind']}/{item['metadata']['name']}"
            for item in ours
            if places & {item["metadata"].get("namespace"), item["metadata"]["name"].removesuffix("-xcore")}
        }


@contextmanager
def released(cluster: Cluster, tag: str) -> Iterator[Release]:
    """Namespaces for a release, nothing installed yet; removed with all that is in them."""
    release = Release(cluster, f"r-{secrets.token_hex(3)}", tag)
    try:
        cluster.kubectl("create", "namespace", release.name)
        cluster.kubectl("label", "namespace", release.name, RESTRICTED)
        yield release
    finally:
        cluster.helm("uninstall", "xcore", "--namespace", release.name, "--ignore-not-found")
        gone = ("--ignore-not-found", "--wait=false")
        cluster.kubectl("delete", "namespace", release.name, release.plugins, *gone)
