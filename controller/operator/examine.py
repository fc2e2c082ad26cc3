"""Looks at the cluster a controller stands on, for the doctor. Changes nothing; `diagnosis` judges what is seen."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from datetime import datetime

from controller.operator.diagnosis import ClusterFacts, Lead, Replica, Seen, Stuck
from controller.operator.lease import NAME
from controller.operator.rights import missing, wanted
from xcore.errors import XcoreError
from xcore.runtimes.kubernetes.client import Cluster, Object, Refusal
from xcore.runtimes.kubernetes.found import leaves, stuck
from xcore.runtimes.kubernetes.mirrors import SELECTOR, plugin_of
from xcore.runtimes.kubernetes.objects import Surroundings, collection
from xcore.runtimes.kubernetes.probe import is_probe
from xcore.runtimes.kubernetes.state import read

SECONDS = 20.0
RESOLVE_SECONDS = 5.0
_DEFINITIONS = "/apis/xcore.dev/v1alpha1"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_OF_A_POD = "system:serviceaccount:"


async def examine(cluster: Cluster, surroundings: Surroundings, namespaces: Sequence[str]) -> ClusterFacts:
    """Look around, for at most SECONDS. `namespaces`: those of plugins, all where there is none."""
    server = "{}:{}".format(*cluster.address)
    try:
        async with asyncio.timeout(SECONDS):
            return await _examined(cluster, surroundings, namespaces or ("",))
    except XcoreError as error:
        return ClusterFacts(server, error.detail)
    except TimeoutError:
        return ClusterFacts(server, f"not all was answered in {SECONDS:.0f} s")


async def _examined(cluster: Cluster, surroundings: Surroundings, namespaces: Sequence[str]) -> ClusterFacts:
    version = await cluster.get("/version") or {}
    account = await _account(cluster)
    lead_in = surroundings.namespace or surroundings.default_namespace
    rights = wanted(namespaces, lead_in, calls=bool(surroundings.calls))
    seen = [await _seen(cluster, namespace) for namespace in namespaces]
    service = _service(account) if surroundings.namespace else ""
    return ClusterFacts(
        server="{}:{}".format(*cluster.address),
        version=str(version.get("gitVersion", "")),
        definitions=await _definitions(cluster),
        account=account,
        denied=[str(right) for right in await missing(cluster, rights)],
        lead=await _lead(cluster, lead_in),
        replicas=await _replicas(cluster, surroundings),
        image=surroundings.image,
        seen=Seen(*(tuple(item for part in parts for item in part) for parts in zip(*seen, strict=True))),
        service=service,
        resolved=await _resolved(service) if service else "",
    )


async def _account(cluster: Cluster) -> str:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return str((await cluster.create(_WHO, review))["status"]["userInfo"]["username"])


def _service(account: str) -> str:
    """Give the DNS name of the controller's Service: the chart calls it and the service account alike."""
    if not account.startswith(_OF_A_POD):
        return ""
    namespace, _, name = account.removeprefix(_OF_A_POD).partition(":")
    return f"{name}.{namespace}.svc"


async def _definitions(cluster: Cluster) -> frozenset[str]:
    found = await cluster.get(_DEFINITIONS) or {}
    return frozenset(str(kind["name"]) for kind in found.get("resources", ()))


async def _lead(cluster: Cluster, namespace: str) -> Lead | None:
    """Give who leads; None where nobody does, or where it may not be read (that is told as a right)."""
    try:
        found = await cluster.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{NAME}")
    except Refusal:
        return None
    if not found or not found["spec"].get("holderIdentity"):
        return None
    renewed = datetime.fromisoformat(found["spec"]["renewTime"]).timestamp()
    return Lead(found["spec"]["holderIdentity"], max(0.0, time.time() - renewed))


async def _replicas(cluster: Cluster, surroundings: Surroundings) -> list[Replica]:
    if not surroundings.namespace:
        return []
    labels = ",".join(f"{name}={value}" for name, value in surroundings.controller.items())
    pods = await _listed(cluster, "Pod", surroundings.namespace, labels)
    return [Replica(pod["metadata"]["name"], _is_ready(pod)) for pod in pods if not leaves(pod)]


async def _seen(cluster: Cluster, namespace: str) -> Seen:
    """Take note of the pods that cannot start, the images that run, and what the probes of networks found."""
    pods = [pod for pod in await _listed(cluster, "Pod", namespace, SELECTOR) if not leaves(pod)]
    held = [(pod, error) for pod in pods if (error := stuck(pod)) is not None]
    deployments = await _listed(cluster, "Deployment", namespace, SELECTOR)
    verdicts = [(plugin_of(deployment), read(deployment).verdict) for deployment in deployments]
    return Seen(
        stuck=tuple(Stuck(plugin_of(pod), error.reason, error.detail, _image(pod)) for pod, error in held),
        running=tuple({_image(pod) for pod in pods if _is_ready(pod) and not is_probe(pod)}),
        verdicts=tuple(each for each in verdicts if each[1].at),
    )


async def _listed(cluster: Cluster, kind: str, namespace: str, labels: str) -> list[Object]:
    """Give all of a kind; none where that is refused: which right is missing is told elsewhere."""
    try:
        return (await cluster.list(collection(kind, namespace), {"labelSelector": labels}))[0]
    except Refusal:
        return []


async def _resolved(name: str) -> str:
    """Give the address of a name; empty where there is none."""
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return ""
    return str(found[0][4][0])


def _image(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
