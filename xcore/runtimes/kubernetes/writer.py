"""Bringing the cluster in line with what is wanted of one plugin, and asking nothing of it when it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from xcore.bundle import COLLECT_AFTER
from xcore.errors import NetworkPolicyFailed
from xcore.runtimes.kubernetes.client import Cluster, Object, Refusal
from xcore.runtimes.kubernetes.code import BUNDLE, code_name
from xcore.runtimes.kubernetes.mirrors import SELECTOR, Mirrors
from xcore.runtimes.kubernetes.objects import PLUGIN, REVISION, collection, path_of
from xcore.runtimes.kubernetes.probe import is_probe
from xcore.runtimes.kubernetes.state import STATE, State, write

_MIRRORED = ("Deployment", "NetworkPolicy")
_UNMIRRORED = ("ConfigMap", "PodDisruptionBudget")


class Writer:
    """Remembers what it applied, and of which generation that made the object: a later one is somebody else's work."""

    def __init__(self, cluster: Cluster, mirrors: Mirrors) -> None:
        self._cluster, self._mirrors = cluster, mirrors
        self._applied: dict[str, tuple[str, int]] = {}

    async def write(self, plugin: str, wanted: Sequence[Object]) -> None:
        """Apply all of it in order, if any of it is not so; raises NetworkPolicyFailed, Refusal, RuntimeUnavailable."""
        if all(self._stands(item) for item in wanted):
            return
        for item in wanted:
            try:
                applied = await self._cluster.apply(path_of(item), item)
            except Refusal as refusal:
                if item["kind"] == "NetworkPolicy":
                    raise NetworkPolicyFailed(refusal.detail) from refusal
                raise
            self._applied[path_of(item)] = (json.dumps(item), applied["metadata"].get("generation", 0))
        await self._tidy(plugin, wanted[0]["metadata"]["namespace"], keep=wanted)

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
        left = list(self._mirrors.everything(plugin))
        namespaces = {item["metadata"]["namespace"] for _, item in left}
        own = [
            (kind, item)
            for kind, item in left
            if (kind != "Pod" or is_probe(item)) and "deletionTimestamp" not in item["metadata"]
        ]
        for kind, item in own:
            path = f"{collection(kind, item['metadata']['namespace'])}/{item['metadata']['name']}"
            self._applied.pop(path, None)
            await self._cluster.delete(path, uid=item["metadata"]["uid"])
        await asyncio.gather(*(self._tidy(plugin, namespace, keep=()) for namespace in namespaces))
        return not left

    def _stands(self, item: Object) -> bool:
        """Tell whether an object was applied just so and nobody changed it since, as far as is known."""
        text, generation = self._applied.get(path_of(item), ("", 0))
        if text != json.dumps(item):
            return False
        if item["kind"] not in _MIRRORED:
            return True
        meta = item["metadata"]
        seen = self._mirrors.get(item["kind"], meta["namespace"], meta["name"])
        return seen is not None and seen["metadata"].get("generation", 0) <= generation

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
                self._applied.pop(path, None)
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
