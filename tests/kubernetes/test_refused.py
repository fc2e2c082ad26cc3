"""What a plugin names is not there, is not its own or does not fit: told by reason and sentence, and nobody else feels it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.kubernetes.release import Release
from tests.kubernetes.serving import service_of
from tests.kubernetes.wanting import (
    apply,
    code,
    comes,
    condition,
    delete,
    instances,
    left,
    plugin,
    ready,
    status,
)

pytestmark = pytest.mark.kubernetes
LOST_NODES = "xcore-test-lost"
# By name: what is wanted, and the condition, the reason and words it is told by.
WANTED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "secretless": ({"secrets": [{"name": "no-secret"}]}, "ResolvedRefs", "SecretNotFound", "no-secret"),
    "keyless": ({"secrets": [{"name": "few", "key": "lost"}]}, "ResolvedRefs", "SecretNotFound", "lost"),
    "nosy": ({"secrets": [{"name": "xcore-admin-key"}]}, "ResolvedRefs", "SecretNotFound", "xcore-admin-key"),
    "codeless": ({"source": {"configMap": "no-code"}}, "ResolvedRefs", "ConfigMapNotFound", "no-code"),
    "bundleless": (
        {"source": {"bundle": f"sha256:{'0' * 64}"}},
        "ResolvedRefs",
        "BundleNotFound",
        "xcore-bundleless-",
    ),
    "classless": ({"pluginClassName": "no-class"}, "Accepted", "ClassForbids", "no PluginClass no-class"),
    "imageless": (
        {"source": {"image": "registry.invalid/none:1"}},
        "ImageVerified",
        "ImagePull",
        "registry.invalid/none:1",
    ),
    "huge": ({"resources": {"memory": "40Gi"}}, "Programmed", "WorkloadRejected", "exceeded quota"),
    "kernelless": ({"runtimeClass": "no-kernel"}, "Programmed", "WorkloadRejected", "no-kernel"),
    "nodeless": ({"runtimeClass": LOST_NODES}, "Ready", "Unschedulable", "node affinity"),
    "needy": ({"dependencies": ["pillow"]}, "Accepted", "NotSupported", "spec.dependencies"),
    "heavy": ({"config": {"greeting": "x" * 40_000}}, "Accepted", "InvalidSpec", "spec.config"),
}


@pytest.fixture(scope="module")
def refused(pair: Release) -> Iterator[tuple[Release, dict[str, int]]]:
    """All of them at once, beside a secret without the key; and what ran before."""
    cluster, before = pair.cluster, instances(pair)
    lost = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": LOST_NODES},
        "handler": "runc",
        "scheduling": {"nodeSelector": {"xcore-test": "nowhere"}},
    }
    few = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "few"}, "stringData": {"there": "1"}}
    items = [plugin(name, **spec) for name, (spec, *_) in WANTED.items()]
    apply(pair, lost, few, *items)
    yield pair, before
    delete(pair, few, *items)
    cluster.kubectl("delete", "runtimeclass", LOST_NODES)
    for kind, name in (("secret", "no-secret"), ("configmap", "no-code"), ("pluginclass", "no-class")):
        cluster.kubectl("delete", kind, name, "-n", pair.plugins, "--ignore-not-found")


@pytest.mark.parametrize("name", WANTED)
def test_what_cannot_be_is_told_by_reason_and_sentence(
    refused: tuple[Release, dict[str, int]], name: str
) -> None:
    """In the resource, and in the same words through the API; it is not Ready."""
    release, _ = refused
    _, kind, reason, words = WANTED[name]
    message = comes(release, name, kind, reason, words)
    assert condition(release, name, "Ready")[0] == "False"
    assert status(release, name)["observedGeneration"] == 1
    headers = {"Authorization": f"Bearer {release.key()}"}
    at = f"{service_of(release)}/api/v1/plugins/{name}/status"
    told = httpx.get(at, headers=headers, trust_env=False).json()["conditions"]
    (found,) = (c for c in told if c["type"] == kind)
    # The scheduler and the kubelet go on talking meanwhile.
    assert (found["reason"], found["message"][:10]) == (reason, message[:10])


def test_what_is_refused_leaves_no_object(refused: tuple[Release, dict[str, int]]) -> None:
    """Of what was never accepted nothing is made in the cluster."""
    release, _ = refused
    for name, (_, kind, reason, words) in WANTED.items():
        if kind == "Accepted" or reason == "ConfigMapNotFound":
            comes(release, name, kind, reason, words)
            assert left(release, name) == []


def test_what_was_missing_is_taken_when_it_is_there(refused: tuple[Release, dict[str, int]]) -> None:
    """Nobody has to apply the plugin again: secret, key, code and class are enough."""
    release, _ = refused
    text = release.cluster.get("configmap", "hello-code", "-n", release.plugins)["data"]["main.py"]
    secrets = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"lost": "1"}}
        for name in ("no-secret", "few")
    ]
    no_class = {
        "apiVersion": "xcore.dev/v1alpha1",
        "kind": "PluginClass",
        "metadata": {"name": "no-class"},
        "spec": {},
    }
    apply(release, *secrets, no_class, code("no-code", text))
    for name in ("secretless", "keyless", "codeless", "classless"):
        ready(release, name, seconds=90)


def test_a_class_that_forbids_it_leaves_what_ran_before_running(
    refused: tuple[Release, dict[str, int]],
) -> None:
    """The limit is named; the plugin serves on, and is accepted again when the limit is gone."""
    release, _ = refused
    document = plugin("limited", pluginClassName="tight", resources={"memory": "64Mi"})
    tight = {
        "apiVersion": "xcore.dev/v1alpha1",
        "kind": "PluginClass",
        "metadata": {"name": "tight"},
        "spec": {"maxResources": {"memory": "64Mi"}},
    }
    apply(release, tight, document)
    try:
        ready(release, "limited")
        apply(release, {**tight, "spec": {"maxResources": {"memory": "32Mi"}}})
        comes(release, "limited", "Accepted", "ClassForbids", "spec.resources.memory")
        assert condition(release, "limited", "Ready")[:2] == ("True", "Ready")
        apply(release, tight)
        comes(release, "limited", "Accepted", "Accepted")
    finally:
        delete(release, document, tight)


def test_nobody_else_feels_any_of_it(refused: tuple[Release, dict[str, int]]) -> None:
    """What served before is what serves: the same instances, none started again."""
    release, before = refused
    for name, (_, kind, reason, words) in WANTED.items():
        if name not in {"secretless", "keyless", "codeless", "classless"}:
            comes(release, name, kind, reason, words)
    assert instances(release) == before
