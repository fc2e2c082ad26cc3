"""What Helm makes, upgrades and leaves in a real cluster; without a controller, which none of it needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.commands import ClusterError
from tests.kubernetes.release import Release, released

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def empty(cluster) -> Iterator[Release]:
    """A release without a controller: what it makes is there all the same."""
    with released(cluster, "none") as release:
        yield release


def test_an_upgrade_keeps_the_key_and_changes_what_was_asked(empty):
    empty.helm("install", replicas="0")
    key = empty.key()
    empty.helm("upgrade", **{"replicas": "0", "service.port": "8080"})
    service = empty.cluster.get("service", "xcore", "--namespace", empty.name)
    assert service["spec"]["ports"][0]["port"] == 8080
    assert empty.key() == key
    assert len(key) > 40


def test_an_upgrade_brings_definitions_up_to_date(empty):
    """A definition that was changed or is of an older version is as the chart has it, after an upgrade."""
    at = ("customresourcedefinition", "plugins.xcore.dev")
    empty.helm("install", replicas="0")
    empty.cluster.kubectl(
        "patch", *at, "--type=merge", "--patch", '{"spec": {"names": {"shortNames": ["old"]}}}'
    )
    empty.helm("upgrade", "--force", replicas="0")
    assert empty.cluster.get(*at)["spec"]["names"]["shortNames"] == ["plg"]


def test_uninstalling_leaves_what_keep_says_and_nothing_else(empty):
    """The definitions and the namespace of plugins stay by default; with keep off, only the definitions."""
    for keep in ("true", "false"):
        empty.helm("install", **{"replicas": "0", "namespaces.keep": keep})
        assert {"Deployment/xcore", f"ClusterRole/{empty.name}-xcore"} <= empty.left()
        empty.cluster.helm("uninstall", "xcore", "--namespace", empty.name, "--wait")
        assert empty.left() == ({f"Namespace/{empty.plugins}"} if keep == "true" else set())
    assert empty.cluster.get("crd", "plugins.xcore.dev", "pluginclasses.xcore.dev")


def test_a_pod_that_is_not_restricted_is_refused_beside_the_plugins(empty):
    empty.helm("install", replicas="0")
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        empty.cluster.kubectl("run", "root", "--image=none", "--namespace", empty.plugins)


def may(release: Release, verb: str, kind: str, namespace: str) -> bool:
    """Whether the API server would let the controller do that."""
    account = f"system:serviceaccount:{release.name}:xcore"
    what, _, part = kind.partition("/")
    place = (f"--subresource={part}", f"--namespace={namespace}")
    question = ("auth", "can-i", verb, what, f"--as={account}", *place)
    try:
        return release.cluster.kubectl(*question).strip() == "yes"
    except ClusterError:  # "no" is an exit status, too
        return False


def test_the_controller_may_do_its_work_and_nothing_else(empty):
    """Asked of the API server: plugins and what they are made of, where plugins are; no Secrets, no exec, no other place."""
    empty.helm("install", replicas="0")
    work = ("list plugins", "patch plugins/status", "patch deployments.apps", "create pods", "get pods/log")
    for verb, kind in map(str.split, work):
        assert may(empty, verb, kind, empty.plugins), (verb, kind)
        assert not may(empty, verb, kind, "kube-system"), (verb, kind)
    assert may(empty, "update", "leases.coordination.k8s.io", empty.name)
    assert may(empty, "list", "pluginclasses.xcore.dev", "default")
    never = (
        "get secrets",
        "list secrets",
        "create pods/exec",
        "create serviceaccounts/token",
        "create rolebindings",
    )
    for verb, kind in map(str.split, never):
        assert not may(empty, verb, kind, empty.plugins), (verb, kind)
        assert not may(empty, verb, kind, empty.name), (verb, kind)
