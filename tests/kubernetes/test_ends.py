"""Instances that end by themselves, by the kernel, by the kubelet: started again, and the reason is told."""

from __future__ import annotations

import contextlib
import os
import signal
from functools import partial
from typing import Any

import httpx
import pytest

from tests.cluster.commands import ClusterError, wait_for
from tests.kubernetes.release import Release
from tests.kubernetes.serving import service_of

pytestmark = pytest.mark.kubernetes
CODE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: ends-code}
data:
  main.py: |
    import time
    from xcore.plugin import Plugin, action


    class Ends(Plugin):
        @action
        async def fill(self) -> int:
            return len(bytes(range(256)) * 2**22)

        @action
        async def hang(self) -> None:
            time.sleep(3600)
"""
PLUGIN = """
---
apiVersion: xcore.dev/v1alpha1
kind: Plugin
metadata: {{name: {name}}}
spec:
  version: 1.0.0
  source: {{configMap: ends-code}}
  entrypoint: main:Ends
  terminationGracePeriodSeconds: 1
  probes: {{liveness: {{periodSeconds: 1, timeoutSeconds: 3, failureThreshold: 2}}}}
"""
NAMES = ("killed", "stopped", "fat", "hung")


@pytest.fixture(scope="module")
def harmed(pair: Release) -> Release:
    """Plugins that served: one's processes were killed, another's stopped; one took more memory than it has, one hangs."""
    cluster = pair.cluster
    documents = CODE + "".join(PLUGIN.format(name=name) for name in NAMES)
    cluster.kubectl("apply", "-n", pair.plugins, "-f", "-", input=documents)
    named = [f"plugin/{name}" for name in NAMES]
    cluster.kubectl("wait", "--for=condition=Ready", *named, "-n", pair.plugins, "--timeout=60s")
    headers = {"Authorization": f"Bearer {pair.key()}"}
    with httpx.Client(base_url=service_of(pair), headers=headers, timeout=30, trust_env=False) as client:
        for name, action in (("hung", "hang"), ("fat", "fill")):
            wait_for(partial(ends_under, client, pair, name, action), f"the end of {name}", seconds=60)
    for name, number in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
        pod = pod_of(pair, name)
        for pid in cluster.processes_of(pair.plugins, pod["metadata"]["name"]):
            with contextlib.suppress(ProcessLookupError):  # the first that goes takes the others with it
                os.kill(pid, number)
    return pair


def pod_of(release: Release, name: str) -> Any:
    selector = f"--selector=xcore.dev/plugin={name},pod-template-hash"
    (pod,) = release.cluster.get("pods", "-n", release.plugins, selector)
    return pod


def ends_under(client: httpx.Client, release: Release, name: str, action: str) -> bool:
    """Call it, and tell whether its container ended by that: on a busy machine a call may be refused before it is there."""
    answer = client.post(f"/app/{name}/{action}")
    assert answer.status_code in {502, 503, 504}, answer.text

    def again() -> bool:
        return bool(pod_of(release, name)["status"]["containerStatuses"][0]["restartCount"])

    with contextlib.suppress(ClusterError):
        wait_for(again, "a restart", seconds=10)
    return again()


def ended(release: Release, name: str, reason: str) -> dict[str, Any]:
    """Wait until it ended for that reason and is ready again; give what is told of its restarts."""
    told = ("--for=jsonpath={.status.restarts.lastReason}=" + reason, f"plugin/{name}", "-n", release.plugins)
    release.cluster.kubectl("wait", *told, "--timeout=30s")
    ready = ("--for=condition=Ready", f"plugin/{name}", "-n", release.plugins)
    release.cluster.kubectl("wait", *ready, "--timeout=30s")
    found: dict[str, Any] = release.cluster.get("plugin", name, "-n", release.plugins)["status"]["restarts"]
    return found


def noted(release: Release, name: str) -> set[str]:
    """The reasons of what `kubectl describe` shows below a plugin."""
    selector = f"--field-selector=involvedObject.kind=Plugin,involvedObject.name={name}"
    return {event["reason"] for event in release.cluster.get("events", "-n", release.plugins, selector)}


@pytest.mark.parametrize(
    ("name", "reason"),
    [("killed", "Signal"), ("stopped", "ProbeFailed"), ("fat", "OutOfMemory"), ("hung", "ProbeFailed")],
)
def test_an_instance_that_ended_is_replaced_and_the_reason_is_told(
    harmed: Release, name: str, reason: str
) -> None:
    """Killed by a signal, by the kernel for want of memory, by the kubelet because it hung."""
    restarts = ended(harmed, name, reason)
    assert restarts["count"] == 1
    assert restarts["lastExitCode"] == 137
    assert reason in noted(harmed, name)
