"""What is made in a cluster for one plugin, in the order it is made: policy, code, volumes, Deployment, budget. Pure.

Every object carries our labels and is owned by the Plugin resource, so that deleting the resource deletes them all; but
for a volume that is to be retained.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from xcore.instance_spec import Retention, Storage
from xcore.manifest import API_VERSION, KIND
from xcore.quantity import parse_bytes
from xcore.runtimes.kubernetes.client import Object
from xcore.runtimes.kubernetes.code import code_map
from xcore.runtimes.kubernetes.pod import Given, claim_name, pod_spec, port_of
from xcore.runtimes.kubernetes.probe import Place
from xcore.runtimes.told import may_call
from xcore.spec import UpdateStrategy
from xcore.workload import Workload

MANAGED_BY, OURS = "app.kubernetes.io/managed-by", "xcore"
PLUGIN = "xcore.dev/plugin"
REVISION = "xcore.dev/revision"
RESTARTED = "xcore.dev/restarted"
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every plugin of one controller shares. `controller`: the labels of its pods, in `namespace`; empty outside a cluster.

    `listens`: what is known to listen in the cluster, and no sandbox may reach. `calls`: where plugins call each other, HOST:PORT,
    of those controllers alone; empty where they do not.
    """

    image: str
    default_namespace: str
    namespace: str = ""
    controller: dict[str, str] = field(default_factory=dict)
    listens: tuple[Place, ...] = ()
    calls: str = ""

    @property
    def calls_port(self) -> int:
        return int(self.calls.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Wish:
    """How many instances of what. `instead`: the older revision that runs in its place, for it was given up.

    `calls`: where they call other plugins, numeric HOST:PORT; for those that do.
    """

    workload: Workload
    replicas: int
    instead: str = ""
    calls: str = ""


def name_of(plugin: str) -> str:
    return f"xcore-{plugin}"


def namespace_of(workload: Workload, surroundings: Surroundings) -> str:
    return workload.origin.namespace if workload.origin else surroundings.default_namespace


def collection(kind: str, namespace: str) -> str:
    """Give the path of all objects of a kind in a namespace; in all of them where none is named."""
    path = _COLLECTIONS[kind]
    return path.format(namespace) if namespace else path.replace("namespaces/{}/", "")


def path_of(item: Object) -> str:
    """Give the path of one object."""
    return f"{collection(item['kind'], item['metadata']['namespace'])}/{item['metadata']['name']}"


_COLLECTIONS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "Plugin": "/apis/xcore.dev/v1alpha1/namespaces/{}/plugins",
}


def wanted(wish: Wish, surroundings: Surroundings) -> list[Object]:
    """Give all objects in the order they are to be made; raises InvalidBundle for code that does not fit."""
    workload = wish.workload
    meta = _meta(workload, surroundings)
    found: list[Object] = [network_policy(workload, surroundings, meta)]
    given = Given(workload.image or surroundings.image, calls=wish.calls)
    if workload.code is not None:
        bundle = workload.manifest.spec.source.bundle is not None
        made, places = code_map(workload.code, workload.name, meta, bundle=bundle)
        given = replace(given, code=made["metadata"]["name"], places=places)
        found.append(made)
    found += [_claim(storage, workload, meta) for storage in workload.manifest.spec.storage]
    found.append(_deployment(wish, pod_spec(workload, given), meta))
    if wish.replicas > 1:
        found.append(_disruption_budget(workload, meta))
    return found


def network_policy(workload: Workload, surroundings: Surroundings, meta: Object) -> Object:
    """Only the controller comes in, to the one port; nothing goes out but calls, to the controller as well."""
    came_from, goes_to = list[Object](), list[Object]()
    if surroundings.namespace:
        peer = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": surroundings.namespace}},
            "podSelector": {"matchLabels": surroundings.controller},
        }
        came_from.append({"from": [peer], "ports": [{"port": port_of(workload), "protocol": "TCP"}]})
        if may_call(workload):
            goes_to.append({"to": [peer], "ports": [{"port": surroundings.calls_port, "protocol": "TCP"}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta,
        "spec": {
            "podSelector": {"matchLabels": _selector(workload)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": came_from,
            "egress": goes_to,
        },
    }


def _claim(storage: Storage, workload: Workload, meta: Object) -> Object:
    """A volume that outlives pods, and, where it is retained, the plugin as well: the next one of that name finds it."""
    named = {**meta, "name": claim_name(workload, storage)}
    if storage.retention is Retention.RETAIN:
        named.pop("ownerReferences", None)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": named,
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": str(parse_bytes(storage.size))}},
        },
    }


def _meta(workload: Workload, surroundings: Surroundings) -> Object:
    uid = workload.origin.uid if workload.origin is not None else ""
    return meta_of(workload.name, namespace_of(workload, surroundings), uid)


def meta_of(plugin: str, namespace: str, uid: str) -> Object:
    """Give the metadata of what is made for a plugin; `uid`: that of its resource, which owns it; empty: nothing does."""
    meta: Object = {
        "name": name_of(plugin),
        "namespace": namespace,
        "labels": {MANAGED_BY: OURS, PLUGIN: plugin},
    }
    if uid:
        owner = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": plugin,
            "uid": uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        meta["ownerReferences"] = [owner]
    return meta


def _selector(workload: Workload) -> dict[str, str]:
    return {MANAGED_BY: OURS, PLUGIN: workload.name}


def _deployment(wish: Wish, template: Object, meta: Object) -> Object:
    workload = wish.workload
    spec = workload.manifest.spec
    rolling: Object = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    # One pod at a time may write to a volume.
    gently = spec.update.strategy is UpdateStrategy.ROLLING and not spec.storage
    marks = {REVISION: workload.revision}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**meta, "annotations": {REVISION: workload.revision}},
        "spec": {
            "replicas": wish.replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": max(2, round(spec.update.progress_deadline_seconds)),
            "strategy": rolling if gently else {"type": "Recreate"},
            "selector": {"matchLabels": _selector(workload)},
            "template": {
                "metadata": {
                    "labels": {**_selector(workload), REVISION: workload.revision[:_SHORT]},
                    "annotations": marks,
                },
                "spec": template,
            },
        },
    }


def _disruption_budget(workload: Workload, meta: Object) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta,
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(workload)}},
    }
