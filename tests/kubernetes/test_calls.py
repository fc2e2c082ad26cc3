"""Plugins in pods call each other: over one port of the controllers, with a token of the pod's own, through whichever replica took the request."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.cluster import enforcer
from tests.cluster.commands import wait_for
from tests.cluster.fixtures import Cluster
from tests.controller.callers import GRANTED, LEFT, SHOP, STOCK, check
from tests.kubernetes.release import Release, released
from tests.kubernetes.remote import Remote, coded, remote_of
from tests.kubernetes.serving import controllers
from tests.kubernetes.wanting import apply, comes, pods, ready

pytestmark = pytest.mark.kubernetes
PROBER = """
    import os
    import socket
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from xcore.plugin import Plugin, action
    from xcore.plugin.calling import calls_at

    CALLS = Path("/run/calls")

    class Prober(Plugin):
        @action
        def reaches(self, places: list[str]) -> list[str]:
            with ThreadPoolExecutor(len(places)) as pool:
                answers = pool.map(self.answers, places)
            return [place for place, answered in zip(places, answers, strict=True) if answered]

        def answers(self, place: str) -> bool:
            host, _, port = place.rpartition(":")
            try:
                socket.create_connection((host, int(port)), timeout=1.5).close()
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
            return True

        @action
        def token(self) -> str:
            return (CALLS / "token").read_text()

        @action
        def surroundings(self) -> dict[str, str]:
            return dict(os.environ)

        @action
        async def borrow(self, token: str) -> list[int | str]:
            # With another pod's token, from this one.
            way = calls_at(os.environ["PLUGIN_CALLS_ADDRESS"], CALLS)
            way._token = lambda: token
            reply = await way("stock/take", b'{"sku": "a"}', "application/json")
            return [reply.status, reply.headers.get("xcore-reason", "")]
"""


CALLERS = [
    *coded("shop", SHOP, "Shop", calls=["stock", "absent", "ungranted"]),
    *coded("stock", STOCK, "Stock", calls=["shop"]),
    *coded("prober", PROBER, "Prober", calls=["stock"]),
    *coded("quiet", PROBER, "Prober"),
]


@pytest.fixture(scope="module")
def enforced(cluster: Cluster) -> Iterator[None]:
    """NetworkPolicies are in force."""
    assert cluster.own, "the enforcer needs a cluster of its own: unset KUBECONFIG and run this as root"
    enforcer.on()
    yield
    enforcer.off()


@pytest.fixture(scope="module")
def remote(
    cluster: Cluster,
    controller_image: str,
    database_of: Callable[[Release], dict[str, str]],
    enforced: None,
) -> Iterator[Remote]:
    """Two controllers that share a PostgreSQL, and the callers' plugins."""
    with released(cluster, controller_image.rpartition(":")[2]) as release:
        granted = [*GRANTED.split(","), "prober:stock"]
        grants = {f"grantedCalls[{number}]": pair for number, pair in enumerate(granted)}
        release.helm("install", "--wait", "--timeout=120s", replicas="2", **grants, **database_of(release))
        apply(release, *CALLERS)
        for name in ("shop", "stock", "prober", "quiet"):
            ready(release, name)
        yield remote_of(release)


def test_a_plugin_calls_another_from_a_pod(remote: Remote) -> None:
    """The very same answers as a container, a child process or a trusted plugin gives."""
    check(remote)  # type: ignore[arg-type]  what it needs of a controller


def test_whichever_replica_takes_a_request_knows_what_belongs_to_it(remote: Remote) -> None:
    """A call goes back to the controller its request came from: a circle is noticed every time, by each of them."""
    remote.wait_ready("stock")
    for url in controllers(remote.release).values():
        asked = {"plugin": "stock", "name": "back"}
        told = [remote.at(url).call("shop", "told", asked).json for _ in range(10)]
        assert told == [{"result": "CallLoop"}] * 10


@pytest.fixture
def places(remote: Remote) -> dict[str, str]:
    """What listens in the cluster, by what it is."""
    cluster, release = remote.release.cluster, remote.release
    services = {name: cluster.get("service", name, "-n", release.name) for name in ("xcore", "xcore-calls")}
    api = cluster.get("service", "kubernetes", "-n", "default")
    found = {
        "the API server": f"{api['spec']['clusterIP']}:443",
        "the controllers": f"{services['xcore']['spec']['clusterIP']}:80",
        "calls": f"{services['xcore-calls']['spec']['clusterIP']}:8001",
    }
    for number, url in enumerate(controllers(release).values()):
        host = str(httpx.URL(url).host)
        found |= {f"controller {number}": f"{host}:8000", f"calls {number}": f"{host}:8001"}
    (stock,) = pods(release, "stock")
    return {**found, "stock": f"{stock['status']['podIP']}:8080"}


def test_who_calls_reaches_the_port_for_calls_and_nothing_else(
    remote: Remote, places: dict[str, str]
) -> None:
    """Not the API server, not the controllers' own port, not the plugin it calls; and who does not call reaches nobody."""
    expected = {place for name, place in places.items() if name.startswith("calls")}
    everything = {"places": list(places.values())}

    def reached(plugin: str) -> set[str]:
        return set(remote.call(plugin, "reaches", everything).json)

    wait_for(lambda: reached("prober") == expected, f"{expected} alone; {reached('prober')}", seconds=30)
    assert reached("quiet") == set()
    assert remote.call("shop", "buy", {"sku": "apple"}).json == LEFT
    comes(remote.release, "prober", "NetworkIsolated", "Enforced", seconds=60)


def test_nothing_else_is_served_there(remote: Remote, places: dict[str, str]) -> None:
    """No API, no probes, nobody without a pod's token; the administrator's key is none."""
    there = remote.at(f"http://{places['calls']}")
    asked = (("GET", "/healthz"), ("GET", "/api/v1/plugins"), ("POST", "/app/stock/take"))
    answers = {path: there.request(method, path) for method, path in asked}
    told = {path: (answer.status, answer.reason) for path, answer in answers.items()}
    assert told == {
        "/healthz": (404, "NotFound"),
        "/api/v1/plugins": (404, "NotFound"),
        "/app/stock/take": (401, "Unauthenticated"),
    }


def test_a_pod_proves_itself_by_a_token_that_is_good_for_nothing_else(remote: Remote) -> None:
    """Not from another pod, and not at the API server; it is in no variable, and the pod has no other."""
    own = remote.call("prober", "token").json
    assert remote.call("prober", "borrow", {"token": own}).json == [200, ""]
    assert (
        remote.call("quiet", "surroundings").json.keys().isdisjoint({"PLUGIN_CALLS", "PLUGIN_CALLS_ADDRESS"})
    )
    variables = remote.call("prober", "surroundings").json
    assert variables["PLUGIN_CALLS"] == "/run/calls"
    assert own not in "".join(variables.values())
    for bad in ("", "x", own[:-4], "a.b.c"):
        assert remote.call("prober", "borrow", {"token": bad}).json == [401, "Unauthenticated"]
    cluster = remote.release.cluster
    (pod,) = pods(remote.release, "shop")
    bound = ("--audience=calls.xcore.dev", "--bound-object-kind=Pod")
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    ends = (f"--bound-object-name={name}", f"--bound-object-uid={uid}", "-n", remote.release.plugins)
    stolen = cluster.kubectl("create", "token", "default", *bound, *ends).strip()
    assert remote.call("prober", "borrow", {"token": stolen}).json == [401, "Unauthenticated"]
    for place in ("prober", "quiet"):
        (found,) = pods(remote.release, place)
        sources = [s for v in found["spec"]["volumes"] for s in v.get("projected", {}).get("sources", ())]
        audiences = [source["serviceAccountToken"]["audience"] for source in sources]
        assert audiences == (["calls.xcore.dev"] if place == "prober" else [])
    server = cluster.kubectl("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
    refused = httpx.get(f"{server}/api", headers={"Authorization": f"Bearer {own}"}, verify=False)
    assert refused.status_code == 401


def test_without_the_api_server_plugins_go_on_calling(remote: Remote) -> None:
    """Who a pod is was found out before; nothing has to be asked for each call."""
    remote.wait_ready("stock")
    replicas = [remote.at(url) for url in controllers(remote.release).values()]
    assert [replica.call("shop", "buy", {"sku": "apple"}).json for replica in replicas] == [LEFT, LEFT]
    remote.release.cluster.kill("kube-apiserver")
    try:
        told = [replica.call("shop", "buy", {"sku": "apple"}).json for replica in replicas for _ in range(50)]
    finally:
        remote.release.cluster.start("kube-apiserver")
    assert told == [LEFT] * 100


def test_where_nothing_is_granted_a_plugin_that_calls_is_refused(remote: Remote) -> None:
    """It says so and names the field; the port is closed, and the right to ask about tokens is gone with it."""
    release = remote.release
    values = {"replicas": "2", "database.existingSecret": "database"}
    release.helm("upgrade", "--wait", "--timeout=120s", "--reset-values", **values)
    said = comes(release, "shop", "Accepted", "NotSupported", "spec.calls")
    assert "grantedCalls" in said
    names = [item["metadata"]["name"] for item in release.cluster.get("services", "-n", release.name)]
    assert names == ["xcore"]
    comes(release, "quiet", "Ready", "Ready")
