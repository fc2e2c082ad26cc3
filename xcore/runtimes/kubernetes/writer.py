"""Bringing the cluster in line with what is wanted of one plugin, and asking nothing of it when it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from xcore.bundle import COLLECT_AFTER
from xcore.errors import NetworkPolicyFailed
from xcore.runtimes.kubernetes.client import Cluster, Object, Refusal
from xcore.runtimes.kubernetes.code import BUNDLE, code_name
from xcore.runtimes.kubernetes.mirrors import SELECTOR, Mirrors
from xcore.runtimes.kubernetes.objects import PLUGIN, REVISION, Wish, collection, path_of
from xcore.runtimes.kubernetes.probe import is_probe
from xcore.runtimes.kubernetes.state import STATE, State, write

_MIRRORED = ("Deployment", "NetworkPolicy")
_UNMIRRORED = ("ConfigMap", "PodDisruptionBudget")


class _Made(NamedTuple):
    """An object as it was applied, of a kind whose changes are heard of."""

    kind: str
    namespace: str
    name: str
    generation: int


class Writer:
    """Remembers which wish it carried out last, and of which generation that made the objects: a later one is somebody else's work."""

    def __init__(self, cluster: Cluster, mirrors: Mirrors) -> None:
        self._cluster, self._mirrors = cluster, mirrors
        self._done: dict[str, tuple[Wish, list[_Made]]] = {}

    def stands(self, wish: Wish) -> bool:
        """Tell whether a wish was carried out and nobody changed anything since, as far as is known."""
        done, made = self._done.get(wish.workload.name, (None, []))
        return done == wish and all(map(self._is_there, made))

    async def write(self, wish: Wish, wanted: Sequence[Object]) -> None:
        """Apply all of it in order; raises NetworkPolicyFailed, Refusal, RuntimeUnavailable."""
        plugin, made = wish.workload.name, []
        self._done.pop(plugin, None)
        for item in wanted:
            try:
                applied = await self._cluster.apply(path_of(item), item)
            except Refusal as refusal:
                if item["kind"] == "NetworkPolicy":
                    raise NetworkPolicyFailed(refusal.detail) from refusal
                raise
            if item["kind"] in _MIRRORED:
                meta = applied["metadata"]
                made.append(_Made(item["kind"], meta["namespace"], meta["name"], meta["generation"]))
        await self._tidy(plugin, wanted[0]["metadata"]["namespace"], keep=wanted)
        self._done[plugin] = wish, made

    async def remember(self, deployment: Object, state: State) -> None:
        meta = deployment["metadata"]
        patch: Object = {"metadata": {"annotations": {STATE: write(state)}}}
        await self._cluster.merge(f"{collection('Deployment', meta['namespace'])}/{meta['name']}", patch)

    async def template_of(self, plugin: str, namespace: str, revision: str) -> Object | None:
        """Give the pod template of an older revision, as a ReplicaSet keeps it."""
        query = {"labelSelector": f"{SELECTOR},{PLUGIN}={plugin}"}
        found, _ = await self._cluster.list(collection("ReplicaSet", namespace), query)
        for item in found:
            template: Object = item["spec"]["template"]
            if template["metadata"].get("annotations", {}).get(REVISION) == revision:
                template["metadata"]["labels"].pop("pod-template-hash", None)
                return template
        return None

    async def events_of(self, item: Object) -> list[Object]:
        """Give what the cluster noted of one object."""
        meta = item["metadata"]
        query = {"fieldSelector": f"involvedObject.uid={meta['uid']}"}
        found, _ = await self._cluster.list(collection("Event", meta["namespace"]), query)
        return found

    async def clear(self, plugin: str) -> bool:
        """Delete everything of a plugin; tells whether nothing of it is left."""
        self._done.pop(plugin, None)
        left = list(self._mirrors.everything(plugin))
        namespaces = {item["metadata"]["namespace"] for _, item in left}
        own = [
            (kind, item)
            for kind, item in left
            if (kind != "Pod" or is_probe(item)) and "deletionTimestamp" not in item["metadata"]
        ]
        for kind, item in own:
            path = f"{collection(kind, item['metadata']['namespace'])}/{item['metadata']['name']}"
            await self._cluster.delete(path, uid=item["metadata"]["uid"])
        await asyncio.gather(*(self._tidy(plugin, namespace, keep=()) for namespace in namespaces))
        return not left

    def _is_there(self, made: _Made) -> bool:
        seen = self._mirrors.get(made.kind, made.namespace, made.name)
        return seen is not None and seen["metadata"]["generation"] <= made.generation

    async def _tidy(self, plugin: str, namespace: str, *, keep: Sequence[Object]) -> None:
        """Delete what an earlier wish made and this one does not want; code stays as long as a pod may mount it."""
        kept = {path_of(item) for item in keep} | self._mounted(plugin, namespace)
        query = {"labelSelector": f"{SELECTOR},{PLUGIN}={plugin}"}
        for kind in _UNMIRRORED:
            found, _ = await self._cluster.list(collection(kind, namespace), query)
            named = {f"{collection(kind, namespace)}/{item['metadata']['name']}": item for item in found}
            unwanted = {path: item for path, item in named.items() if path not in kept}
            for path in await self._kept_bundles(plugin, namespace, unwanted):
                del unwanted[path]
            for path, item in unwanted.items():
                await self._cluster.delete(path, uid=item["metadata"]["uid"])

    async def _kept_bundles(self, plugin: str, namespace: str, found: Mapping[str, Object]) -> list[str]:
        """Tell which of these are code that a kept revision names, or one that is just being made."""
        bundles = {path: item for path, item in found.items() if BUNDLE in item["metadata"]["labels"]}
        if not bundles:
            return []
        query = {"labelSelector": f"{SELECTOR},{PLUGIN}={plugin}"}
        records, _ = await self._cluster.list(collection("ControllerRevision", namespace), query)
        names = {code_name(plugin, record["data"].get("digest", "")) for record in records}
        return [
            path for path, item in bundles.items() if item["metadata"]["name"] in names or _is_young(item)
        ]

    def _mounted(self, plugin: str, namespace: str) -> set[str]:
        _, pods = self._mirrors.found(namespace, plugin)
        volumes = [volume for pod in pods for volume in pod["spec"].get("volumes", ())]
        names = {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
        return {f"{collection('ConfigMap', namespace)}/{name}" for name in names}


def _is_young(item: Object) -> bool:
    """Tell whether a resource may be about to name it."""
    made = datetime.fromisoformat(item["metadata"]["creationTimestamp"])
    return datetime.now(UTC) - made < timedelta(seconds=COLLECT_AFTER)
