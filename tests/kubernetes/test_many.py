"""How long one plugin takes, and what a thousand cost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.commands import wait_for
from tests.kubernetes.release import Release, released
from tests.kubernetes.rendering import ROOT
from tests.kubernetes.serving import controllers

pytestmark = [pytest.mark.kubernetes, pytest.mark.soak, pytest.mark.timeout(900)]
HELLO = ROOT / "examples/kubernetes/hello.yaml"
ONE_AFTER_ANOTHER, READY_SECONDS = 20, 5.0
MANY, MEBIBYTES, REQUESTS_EACH, REQUESTS_IDLE = 1000, 200, 5.0, 1.0
QUIET_SECONDS = 30


def test_an_applied_plugin_is_ready_within_5_seconds(pair: Release) -> None:
    """95 of 100: 20 plugins one after another, from `kubectl apply` to `kubectl wait`, image present."""
    cluster, took = pair.cluster, []
    at = ("-n", pair.plugins)
    for number in range(ONE_AFTER_ANOTHER):
        name = f"timed-{number}"
        began = time.monotonic()
        cluster.kubectl(
            "apply", *at, "-f", "-", input=HELLO.read_text().replace("name: hello\n", f"name: {name}\n")
        )
        cluster.kubectl("wait", "--for=condition=Ready", f"plugin/{name}", *at, "--timeout=30s")
        took.append(time.monotonic() - began)
        cluster.kubectl("delete", "plugin", name, *at, "--wait=false")
    took.sort()
    p95 = took[ONE_AFTER_ANOTHER * 95 // 100 - 1]
    print(f"apply to Ready: p50 {took[len(took) // 2]:.1f} s, p95 {p95:.1f} s, worst {took[-1]:.1f} s")
    assert p95 <= READY_SECONDS


@pytest.fixture
def single(cluster: Any, controller_image: str) -> Iterator[Release]:
    """One controller, with nothing to do."""
    with released(cluster, controller_image.rpartition(":")[2]) as release:
        release.helm("install", "--wait", "--timeout=90s")
        yield release


def requests(release: Release) -> set[str]:
    """What the controller asked of the API server so far."""
    account = f"system:serviceaccount:{release.name}:xcore"
    return {entry["auditID"] for entry in release.cluster.audited(account)}


def settled(release: Release) -> int:
    """How many plugins have a status of what is wanted of them."""
    told = ("get", "plg", "-n", release.plugins, "-o", "jsonpath={.items[*].status.observedGeneration}")
    return len(release.cluster.kubectl(*told).split())


def peak_mebibytes(release: Release) -> float:
    """The most memory the controller's process has had."""
    (pod,) = controllers(release)
    peaks = []
    for pid in release.cluster.processes_of(release.name, pod):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        peaks += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")]
    return sum(peaks)


def asked_in(release: Release, seconds: float) -> int:
    """How many requests it makes in that time."""
    before, until = requests(release), time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > until, "the time", seconds=seconds + 1)
    return len(requests(release) - before)


def test_a_thousand_suspended_plugins_cost_little(single: Release) -> None:
    """They settle, in 200 MiB, with 5 requests each at most; then the API server hears less than once a second."""
    kubectl, at = single.cluster.kubectl, ("-n", single.plugins)
    kubectl("apply", *at, "-f", str(HELLO))
    template = single.cluster.get("plugin", "hello", *at)
    spec = {**template["spec"], "operatingMode": "Suspended"}
    kubectl("delete", "plugin", "hello", *at)
    items = [
        {
            "apiVersion": template["apiVersion"],
            "kind": "Plugin",
            "metadata": {"name": f"p-{number}"},
            "spec": spec,
        }
        for number in range(MANY)
    ]
    before, began = requests(single), time.monotonic()
    kubectl("create", *at, "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    wait_for(lambda: settled(single) == MANY, "a status of each", seconds=240, every=2)
    wait_for(lambda: asked_in(single, 5) < QUIET_SECONDS, "a quiet controller", seconds=120)
    took, each = time.monotonic() - began, len(requests(single) - before) / MANY
    idle, memory = asked_in(single, QUIET_SECONDS) / QUIET_SECONDS, peak_mebibytes(single)
    print(
        f"{MANY} settled in {took:.0f} s: {each:.2f} requests each, then {idle:.2f}/s; peak {memory:.0f} MiB"
    )
    assert each <= REQUESTS_EACH
    assert idle <= REQUESTS_IDLE
    assert memory <= MEBIBYTES
