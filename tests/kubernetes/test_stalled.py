"""The way to the API server stalls without ending, or what was missed is too old to be told: noticed, and made up for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.cluster.commands import ClusterError
from tests.cluster.fixtures import Cluster, restricted_namespace
from tests.harness import KEY, Controller
from tests.kubernetes import beside
from tests.kubernetes.proxy import Proxy, proxied
from tests.kubernetes.serving import calling, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.asyncio(loop_scope="module")]
NOTICED, CAUGHT_UP = 70.0, 10.0
HELLO = Path(__file__).parents[2] / "examples/kubernetes/hello.yaml"
PLUGINS = "/apis/xcore.dev/v1alpha1/namespaces/{}/plugins"


class Behind:
    """One controller, to whom the API server is behind a proxy; a plugin that serves."""

    def __init__(self, cluster: Cluster, namespace: str, proxy: Proxy, controller: Controller) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.proxy, self.controller = proxy, controller

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *words, input=stdin)

    def create(self, name: str) -> None:
        """A plugin that asks for no pod."""
        spec = {"version": "1.0.0", "source": {"image": "x.invalid/y:1"}, "operatingMode": "Suspended"}
        item = {
            "apiVersion": "xcore.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.kubectl("create", "-f", "-", stdin=json.dumps(item))

    def knows(self, name: str) -> bool:
        return self.controller.request("GET", f"/api/v1/plugins/{name}").status == 200

    def degraded(self) -> list[str]:
        answer = httpx.get(f"{self.controller.url}/readyz", trust_env=False, timeout=10)
        assert answer.status_code == 200
        found: list[str] = answer.json()["degraded"]
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind(
    cluster: Cluster, definitions: None, sandbox_image: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Behind]:
    """The same for all tests of this module; each leaves a way that works."""
    path = tmp_path_factory.mktemp("behind")
    server = cluster.kubectl("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
    place = urlsplit(server)
    target = place.hostname or "", place.port or 443
    with restricted_namespace(cluster) as namespace:
        async with proxied(target) as proxy:
            way = beside.kubeconfig(cluster, path / "kubeconfig", server=f"https://127.0.0.1:{proxy.port}")
            controller = beside.controller(path, "behind", [namespace], way)
            cluster.kubectl("apply", "-n", namespace, "-f", str(HELLO))
            await asyncio.to_thread(controller.start)
            try:
                await asyncio.to_thread(controller.wait_ready, "hello", 60)
                yield Behind(cluster, namespace, proxy, controller)
            finally:
                proxy.heal()
                await asyncio.to_thread(controller.stop)


async def test_a_way_that_stalls_is_told_and_what_was_missed_made_up_for(behind: Behind) -> None:
    """Nothing comes and nothing ends: every call is answered meanwhile, /readyz tells, and then what was missed is there."""
    assert behind.degraded() == []
    async with calling(behind.controller.url, KEY) as calls:
        behind.proxy.stall(new=True)
        behind.create("missed")
        took = await until(lambda: behind.degraded() != [], "that it is noticed", seconds=NOTICED)
        assert not await asyncio.to_thread(behind.knows, "missed")
        behind.proxy.heal()
        back = await until(lambda: behind.knows("missed"), "what was missed", seconds=CAUGHT_UP)
        await until(lambda: behind.degraded() == [], "nothing amiss", seconds=CAUGHT_UP)
    assert calls.failed == {}
    print(f"noticed after {took:.1f} s, caught up after {back:.1f} s, {calls.answered} calls answered")


async def test_a_watch_that_stalls_silently_is_begun_anew_within_70_seconds(behind: Behind) -> None:
    """What is open stalls for ever, and only new connections work: a controller that heard nothing for long asks again."""
    async with calling(behind.controller.url, KEY) as calls:
        behind.proxy.stall(new=False)
        behind.create("unheard")
        took = await until(lambda: behind.knows("unheard"), "what was missed", seconds=NOTICED)
        await until(lambda: behind.degraded() == [], "nothing amiss", seconds=CAUGHT_UP)
        behind.proxy.heal()
    assert calls.failed == {}
    print(f"heard again after {took:.1f} s, {calls.answered} calls answered")


async def test_what_is_too_old_to_be_told_is_listed_anew(behind: Behind) -> None:
    """Cut off while the API server forgets (410 Gone): what came is there, what went is gone, and every call is answered."""
    behind.create("goes")
    await until(lambda: behind.knows("goes"), "what goes", seconds=CAUGHT_UP)
    listed = behind.kubectl("get", "--raw", PLUGINS.format(behind.namespace))
    version = json.loads(listed)["metadata"]["resourceVersion"]
    async with calling(behind.controller.url, KEY) as calls:
        behind.proxy.cut()
        behind.create("comes")
        behind.kubectl("delete", "plugin", "goes")
        behind.cluster.kill("kube-apiserver")
        await asyncio.to_thread(behind.cluster.start, "kube-apiserver")
        await until(lambda: "too old" in watched(behind, version), "a server that forgot", seconds=60)
        behind.proxy.heal()
        await until(lambda: behind.knows("comes"), "what came", seconds=CAUGHT_UP)
        await until(lambda: not behind.knows("goes"), "what went", seconds=CAUGHT_UP)
    assert calls.failed == {}


def watched(behind: Behind, version: str) -> str:
    """What the API server says to who goes on from a version."""
    asked = f"{PLUGINS.format(behind.namespace)}?watch=true&timeoutSeconds=1&resourceVersion={version}"
    try:
        return behind.kubectl("get", "--raw", asked)
    except ClusterError as error:
        return str(error)
