"""Rights and definitions are taken away from under the controller: told, nothing lost, and well again when they are back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.kubernetes.release import Release
from tests.kubernetes.rendering import ROOT
from tests.kubernetes.serving import calling, carried_out, controllers, scale, service_of, until
from tests.kubernetes.wanting import apply, delete, instances, plugin, ready
from xcore import crd
from xcore.runtimes.kubernetes.reflector import WATCH_SECONDS

pytestmark = pytest.mark.kubernetes
TOLD = WATCH_SECONDS + 20.0  # rights are asked for when a watch begins
HEALED = 15.0


def degraded(url: str) -> list[str]:
    """What a controller says it cannot do; it must be ready all the same."""
    answer = httpx.get(f"{url}/readyz", trust_env=False, timeout=10)
    assert answer.status_code == 200
    found: list[str] = answer.json()["degraded"]
    return found


def programmed(release: Release, url: str) -> str:
    """What a controller says stands in the way of hello being as it is wanted."""
    headers = {"Authorization": f"Bearer {release.key()}"}
    told = httpx.get(f"{url}/api/v1/plugins/hello/status", headers=headers, trust_env=False).json()
    return next(c["message"] for c in told["conditions"] if c["type"] == "Programmed")


def everywhere(release: Release, so: Callable[[list[str]], bool]) -> Callable[[], bool]:
    """Whether that holds for what each controller says."""
    return lambda: all(so(degraded(url)) for url in controllers(release).values())


def refused(release: Release) -> bool:
    """Whether the controller that leads gives the API server's words on."""
    return any("is forbidden" in programmed(release, url) for url in controllers(release).values())


def kept(release: Release, kind: str, name: str, place: str) -> dict[str, Any]:
    """An object as it can be created again."""
    found: dict[str, Any] = release.cluster.get(kind, name, "-n", place)
    for noted in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        found["metadata"].pop(noted, None)
    return found


async def test_without_its_rights_it_says_so_and_what_serves_serves_on(pair: Release) -> None:
    """Its RoleBinding deleted: every controller names what it may not read; given back, what was asked for is done."""
    before = instances(pair)
    replicas = pair.cluster.get("plg", "hello", "-n", pair.plugins)["spec"]["replicas"]
    binding = kept(pair, "rolebinding", "xcore", pair.plugins)
    words = f"not allowed to read plugins in the namespace {pair.plugins}"
    async with calling(service_of(pair), pair.key()) as calls:
        pair.cluster.kubectl("delete", "rolebinding", "xcore", "-n", pair.plugins)
        try:
            scale(pair, replicas + 1)
            await until(lambda: refused(pair), "what it may not write", seconds=20)
            told = everywhere(pair, lambda found: any(words in sentence for sentence in found))
            took = await until(told, "what it may not read", seconds=TOLD, every=1)
            assert all("system:" not in text for url in controllers(pair).values() for text in degraded(url))
        finally:
            apply(pair, binding)
        await until(lambda: carried_out(pair, replicas + 1), "the change", seconds=HEALED)
        await until(everywhere(pair, lambda found: not found), "nothing amiss", seconds=HEALED)
    assert calls.failed == {}
    after = instances(pair)
    assert {name: after.get(name) for name in before} == before
    scale(pair, replicas)
    print(f"told after {took:.0f} s, {calls.answered} calls answered")


async def test_without_the_right_to_its_lease_nobody_leads_and_that_is_told(pair: Release) -> None:
    """Plugins are served; given back, somebody leads again and does what was asked for."""
    binding = kept(pair, "rolebinding", "xcore-leader", pair.name)
    replicas = pair.cluster.get("plg", "hello", "-n", pair.plugins)["spec"]["replicas"]
    async with calling(service_of(pair), pair.key()) as calls:
        pair.cluster.kubectl("delete", "rolebinding", "xcore-leader", "-n", pair.name)
        try:
            told = everywhere(pair, lambda found: any("nobody may lead" in sentence for sentence in found))
            await until(told, "that nobody leads", seconds=30, every=0.5)
            scale(pair, replicas + 1)
        finally:
            apply(pair, binding, place=pair.name)
        await until(lambda: carried_out(pair, replicas + 1), "the change", seconds=20)
        await until(everywhere(pair, lambda found: not found), "nothing amiss", seconds=HEALED)
    assert calls.failed == {}
    scale(pair, replicas)


def define(release: Release) -> None:
    definitions = {"apiVersion": "v1", "kind": "List", "items": crd.definitions()}
    release.cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(definitions)
    )
    release.cluster.kubectl("wait", "--for=condition=Established", "crd/plugins.xcore.dev", "--timeout=30s")


async def test_without_the_definition_of_plugins_it_says_so_and_goes_on_when_it_is_back(
    pair: Release,
) -> None:
    """Deleting the definition deletes every plugin, that is Kubernetes'; the controllers live on and take the next ones."""
    assert pair.cluster.own, (
        "whoever else has plugins there would lose them: unset KUBECONFIG and run this as root"
    )
    hello = ROOT / "examples/kubernetes/hello.yaml"
    other = plugin("other")
    apply(pair, other)
    ready(pair, "other")
    before = {name: times for name, times in instances(pair).items() if not name.startswith("xcore-hello")}
    try:
        pair.cluster.kubectl("delete", "crd", "plugins.xcore.dev", "--timeout=60s")
        words = "knows no plugins: their definition is gone"
        told = everywhere(pair, lambda found: any(words in sentence for sentence in found))
        await until(told, "what is gone", seconds=TOLD, every=0.5)
        gone = "--selector=xcore.dev/plugin,pod-template-hash"
        await until(
            lambda: pair.cluster.get("pods", "-n", pair.plugins, gone) == [], "no instance", seconds=40
        )
    finally:
        await asyncio.to_thread(define, pair)
        pair.cluster.kubectl("apply", "-n", pair.plugins, "-f", str(hello))
    await asyncio.to_thread(ready, pair, "hello")
    await until(everywhere(pair, lambda found: not found), "nothing amiss", seconds=HEALED)
    after = instances(pair)
    assert {name: after.get(name) for name in before} == before
    delete(pair, other)
