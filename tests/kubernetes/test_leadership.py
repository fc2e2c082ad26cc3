"""One of two controllers in the cluster leads; what happens when it is told to end, or killed, under load."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.cluster.commands import wait_for
from tests.kubernetes.release import Release
from tests.kubernetes.serving import calling, carried_out, controllers, scale, until

pytestmark = pytest.mark.kubernetes
TAKEOVER = 17.0
HANDOVER = 10.0


def lease(release: Release) -> dict[str, Any]:
    found: dict[str, Any] = release.cluster.get("lease", "xcore-controller", "-n", release.name)["spec"]
    return found


def roles(release: Release) -> tuple[str, str]:
    """The pod that leads, and the URL of one that does not."""
    found = controllers(release)
    wait_for(lambda: lease(release)["holderIdentity"] in found, "a leader that lives", seconds=20)
    leader = lease(release)["holderIdentity"]
    return leader, next(url for name, url in found.items() if name != leader)


def rolled_out(release: Release) -> None:
    release.cluster.kubectl("rollout", "status", "deployment/xcore", "-n", release.name, "--timeout=60s")


async def test_a_leader_that_is_told_to_end_hands_over(pair: Release) -> None:
    """After the 5 s in which requests still come, the other one leads at once."""
    leader, _ = roles(pair)
    pair.cluster.kubectl("delete", "pod", leader, "-n", pair.name, "--wait=false")
    wait_for(lambda: lease(pair)["holderIdentity"] not in {"", leader}, "another leader", seconds=HANDOVER)
    rolled_out(pair)


async def test_a_killed_leader_is_followed_within_17_seconds(pair: Release) -> None:
    """The other one does what is asked for meanwhile, and answers every call it gets."""
    leader, other = roles(pair)
    async with calling(other, pair.key()) as calls:
        for pid in pair.cluster.processes_of(pair.name, leader):
            os.kill(pid, signal.SIGKILL)
        # Else the kubelet starts it again, and it goes on leading.
        pair.cluster.kubectl("delete", "pod", leader, "-n", pair.name, "--force", "--wait=false")
        scale(pair, 2)
        took = await until(lambda: carried_out(pair, 2), "a leader", seconds=TAKEOVER, every=0.25)
    assert calls.failed == {}
    assert calls.answered > 0
    assert lease(pair)["holderIdentity"] != leader
    print(f"takeover after a kill: {took:.1f} s, {calls.answered} calls answered")
    rolled_out(pair)
