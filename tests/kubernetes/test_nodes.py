"""A node is drained, then another way lost, with instances of plugins and a controller on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from controller.image.tag import image_tag as controller_tag
from sandbox_image.tag import image_tag as sandbox_tag
from tests.cluster.commands import wait_for
from tests.cluster.fixtures import SecondNode
from tests.cluster.lifecycle import add_second_node, remove_second_node
from tests.kubernetes.release import Release
from tests.kubernetes.serving import PER_SECOND, calling, scale, service_of, until

pytestmark = pytest.mark.kubernetes
NODE = SecondNode()
FIRST, BOTH = ["node1"] * 2, ["node1", NODE.name]
LOST = 120.0  # 20 s until it is missed, 30 s that pods may stay on it, a start


def where(release: Release, place: str, selector: str) -> list[str]:
    """The node of each pod that is ready and stays."""
    pods = release.cluster.get("pods", "-n", place, f"--selector={selector},pod-template-hash")
    return sorted(pod["spec"]["nodeName"] for pod in pods if serves(pod))


def serves(pod: dict[str, Any]) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def plugin(release: Release) -> list[str]:
    return where(release, release.plugins, "xcore.dev/plugin=hello")


def controller(release: Release) -> list[str]:
    return where(release, release.name, "app.kubernetes.io/component=controller")


def restarts(release: Release) -> dict[str, Any]:
    found: dict[str, Any] = release.cluster.get("plugin", "hello", "-n", release.plugins)["status"][
        "restarts"
    ]
    return found


@pytest.fixture(scope="module")
def two_nodes(pair: Release) -> Iterator[Release]:
    """A second node with room and images, and two instances of hello."""
    before = pair.cluster.get("plugin", "hello", "-n", pair.plugins)["spec"]["replicas"]
    assert pair.cluster.own, "a second node needs a cluster of its own: unset KUBECONFIG and run this as root"
    try:
        add_second_node()
        pair.cluster.load(sandbox_tag(), controller_tag())
        scale(pair, 2)
        yield pair
    finally:
        scale(pair, before)
        remove_second_node()
        wait_for(lambda: controller(pair) == FIRST, "both controllers", seconds=90)


@pytest.fixture
def spread(two_nodes: Release) -> Release:
    """On each node one controller and one instance of hello."""
    kubectl = two_nodes.cluster.kubectl
    for place, name in ((two_nodes.name, "xcore"), (two_nodes.plugins, "xcore-hello")):
        kubectl("rollout", "restart", f"deployment/{name}", "-n", place)
        kubectl("rollout", "status", f"deployment/{name}", "-n", place, "--timeout=90s")
    wait_for(lambda: plugin(two_nodes) == controller(two_nodes) == BOTH, "one of each on each node")
    return two_nodes


async def test_a_node_is_drained_and_every_call_is_answered(spread: Release) -> None:
    """Controller and instance on it leave for the other node; the reason is told."""
    drain = ("drain", NODE.name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s")
    try:
        async with calling(service_of(spread), spread.key()) as calls:
            await calls.more(PER_SECOND)
            await asyncio.to_thread(spread.cluster.kubectl, *drain)
            both = "both on the first node"
            await until(lambda: plugin(spread) == controller(spread) == FIRST, both, seconds=60)
            await calls.more(PER_SECOND)
    finally:
        spread.cluster.kubectl("uncordon", NODE.name)
    assert calls.failed == {}
    assert calls.answered > 2 * PER_SECOND
    assert restarts(spread)["lastReason"] == "Evicted"


@pytest.mark.soak
async def test_a_node_is_lost_and_its_instance_is_replaced(spread: Release) -> None:
    """Its kubelet ends without a word: within two minutes another instance serves, and no call fails."""
    before = restarts(spread)["count"]
    try:
        async with calling(service_of(spread), spread.key(), per_second=10) as calls:
            NODE.lose()
            took = await until(lambda: plugin(spread) == FIRST, "another instance", seconds=LOST, every=1)
            await calls.more(PER_SECOND)
    finally:
        NODE.come_back()
    assert calls.failed == {}
    assert (restarts(spread)["count"], restarts(spread)["lastReason"]) == (before + 1, "Evicted")
    print(f"replaced after {took:.0f} s, {calls.answered} calls answered")
