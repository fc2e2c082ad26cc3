"""The API server goes away for a while; plugins serve on, and what was missed is made up for."""

from __future__ import annotations

import asyncio

import pytest

from tests.kubernetes.release import Release
from tests.kubernetes.serving import PER_SECOND, calling, carried_out, scale, service_of, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]
CATCH_UP = 10.0


def starts(release: Release) -> dict[str, int]:
    """Every pod of the release and its plugins, and how often it was started again."""
    of_deployments, places = "--selector=pod-template-hash", (release.name, release.plugins)
    pods = [pod for place in places for pod in release.cluster.get("pods", "-n", place, of_deployments)]
    return {
        pod["metadata"]["uid"]: sum(
            status["restartCount"] for status in pod["status"].get("containerStatuses", ())
        )
        for pod in pods
    }


@pytest.mark.parametrize(
    "seconds", [20, *(pytest.param(longer, marks=pytest.mark.soak) for longer in (60, 600))]
)
async def test_without_the_api_server_every_call_is_answered(pair: Release, seconds: int) -> None:
    """Meanwhile and after; what is asked for at its return is done within 10 s, and no pod was started again."""
    replicas = pair.cluster.get("plg", "hello", "-n", pair.plugins)["spec"]["replicas"]
    other = 1 if replicas > 1 else 2
    before = starts(pair)
    async with calling(service_of(pair), pair.key()) as calls:
        await calls.more(PER_SECOND)
        pair.cluster.kill("kube-apiserver")
        try:
            await calls.more(seconds * PER_SECOND)
        finally:
            await asyncio.to_thread(pair.cluster.start, "kube-apiserver")
        scale(pair, other)
        took = await until(lambda: carried_out(pair, other), "the change", seconds=CATCH_UP)
        await calls.more(20 * PER_SECOND)
    assert calls.failed == {}
    after = starts(pair)
    assert {uid: times for uid, times in after.items() if times != before.get(uid, 0)} == {}
    if other > replicas:
        assert before.keys() <= after.keys()
    print(f"caught up after {took:.1f} s, {calls.answered} calls answered")
    await asyncio.to_thread(
        pair.cluster.kubectl, "wait", "--for=condition=Ready", "plugin/hello", "-n", pair.plugins
    )
