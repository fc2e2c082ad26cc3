"""Plugins of the API as resources of the cluster, so that every replica sees the same. See `Ledger`, and `history`.

New ones go into the first namespace of plugins; one that is there already is changed where it is, whoever made it. Any replica
writes: the API server lets through only what was made from the newest version.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from controller.operator.codemaps import Bundles
from controller.operator.history import Held, held, record, record_name, resource, version_of
from controller.operator.resources import PluginResources
from xcore.bundle import Snapshots
from xcore.clock import SystemClock, sleep
from xcore.errors import Conflict, XcoreError
from xcore.ledger import KEPT_REVISIONS, Kept, Overtaken, Shelved
from xcore.runtimes.kubernetes.client import Cluster, Object, Refusal
from xcore.runtimes.kubernetes.code import code_map, code_name
from xcore.runtimes.kubernetes.objects import (
    MANAGED_BY,
    OURS,
    PLUGIN,
    collection,
    meta_of,
    path_of,
)

_LOOK_AGAIN = 0.25
_log = logging.getLogger("xcore.operator")


class ResourceLedger:
    """See `Ledger`. `default`: the namespace new plugins go into."""

    declares_mode = True

    def __init__(
        self,
        cluster: Cluster,
        resources: PluginResources,
        snapshots: Snapshots,
        *,
        bundles: Bundles,
        default: str,
    ) -> None:
        self._cluster, self._resources, self._default = cluster, resources, default
        self._clock = SystemClock()
        self.snapshots, self._bundles = snapshots, bundles

    async def read(self, name: str) -> Held | None:
        namespace = self._namespace(name)
        item = await self._cluster.get(f"{collection('Plugin', namespace)}/{name}")
        if item is None:
            return None
        if "deletionTimestamp" in item["metadata"]:
            raise Conflict(f"{name} is being deleted; wait until it is gone")
        return held(item, await self._kept_of("ControllerRevision", namespace, name))

    def version(self, name: str) -> str:
        item = self._resources.get((self._namespace(name), name))
        return version_of(item) if item is not None else ""

    async def holds(self, name: str, digest: str) -> bool:
        path = f"{collection('ConfigMap', self._namespace(name))}/{code_name(name, digest)}"
        return await self._cluster.get(path) is not None

    async def put(self, name: str, kept: Kept, known: Shelved | None) -> None:
        """Raises InvalidBundle for code that does not fit, Refusal in the API server's words."""
        before = known if isinstance(known, Held) else None
        namespace = self._namespace(name)
        await self._keep_code(name, kept.digest, namespace, before.uid if before else "")
        if before is not None and before.newest.number not in before.recorded:
            await self._create(record(before.newest, before.item))
        item = await self._write(resource(kept, namespace, before.item if before else None), new=not before)
        try:
            if before is None:
                await self._keep_code(name, kept.digest, namespace, item["metadata"]["uid"])
            await self._create(record(kept, item))
            await self._forget(before, item)
        except XcoreError as error:  # it is wanted all the same; the resource itself tells by whom
            _log.warning("%s: revision %d could not be recorded yet: %s", name, kept.number, error.detail)
        await self._resources.heard(item)

    async def delete(self, name: str, known: Shelved) -> None:
        assert isinstance(known, Held)
        path = f"{collection('Plugin', known.item['metadata']['namespace'])}/{name}"
        await self._cluster.delete(path, uid=known.uid)
        await self._resources.heard_gone(known.item)

    async def wait_gone(self, name: str, seconds: float) -> bool:
        """What a resource owned goes a moment after it, by whichever replica leads and the cluster's garbage collector."""
        until = self._clock.time() + seconds
        while await self._left(name):
            if self._clock.time() > until:
                return False
            await sleep(self._clock, _LOOK_AGAIN)
        return True

    def collect(self, used: frozenset[str]) -> Sequence[str]:
        """Remove the code that neither runs nor is wanted: the rest is in the cluster."""
        return self.snapshots.collect(used | self._resources.digests())

    # -- steps --------------------------------------------------------------------------------------------------

    def _namespace(self, name: str) -> str:
        return self._resources.namespace_of(name) or self._default

    async def _left(self, name: str) -> bool:
        """Tell whether something is there of a plugin that is not wanted; one elsewhere may have the name by now."""
        for kind in ("Pod", "Deployment", "ConfigMap", "ControllerRevision"):
            for namespace in self._resources.namespaces:
                found = await self._kept_of(kind, namespace, name)
                if any(not self._is_wanted(item["metadata"]["namespace"], name) for item in found):
                    return True
        return False

    def _is_wanted(self, namespace: str, name: str) -> bool:
        item = self._resources.get((namespace, name))
        return item is not None and "deletionTimestamp" not in item["metadata"]

    async def _kept_of(self, kind: str, namespace: str, name: str) -> list[Object]:
        query = {"labelSelector": f"{MANAGED_BY}={OURS},{PLUGIN}={name}"}
        return (await self._cluster.list(collection(kind, namespace), query))[0]

    async def _keep_code(self, name: str, digest: str, namespace: str, uid: str) -> None:
        """Have the code in the cluster before, and owned as soon as, a resource names it."""
        code = self.snapshots.path(digest)
        if not digest or not code.is_dir():
            return  # an image, or code of a kept revision, that is there
        item, _ = await asyncio.to_thread(code_map, code, name, meta_of(name, namespace, uid), bundle=True)
        await self._cluster.apply(path_of(item), item)
        self._bundles.saw(namespace, name, digest)

    async def _write(self, item: Object, *, new: bool) -> Object:
        path = collection("Plugin", item["metadata"]["namespace"])
        try:
            if new:
                return await self._cluster.create(path, item)
            return await self._cluster.replace(f"{path}/{item['metadata']['name']}", item)
        except Refusal as refusal:
            if refusal.status == 409 or (refusal.status == 404 and not new):
                raise Overtaken from refusal
            if new:
                await self._take_back(item)
            raise

    async def _take_back(self, item: Object) -> None:
        """Let go of code that no resource will ever own."""
        meta, bundle = item["metadata"], item["spec"]["source"].get("bundle", "")
        if bundle:
            name = code_name(meta["name"], bundle.removeprefix("sha256:"))
            await self._cluster.delete(f"{collection('ConfigMap', meta['namespace'])}/{name}")

    async def _create(self, item: Object) -> None:
        try:
            await self._cluster.create(collection(item["kind"], item["metadata"]["namespace"]), item)
        except Refusal as refusal:
            if refusal.status != 409:  # another replica recorded the same
                raise

    async def _forget(self, before: Held | None, item: Object) -> None:
        """Let go of the oldest, when there are more than are kept; their code goes with the next look at the plugin."""
        meta = item["metadata"]
        numbers = sorted({*before.recorded, before.newest.number}) if before else []
        path = collection("ControllerRevision", meta["namespace"])
        for number in numbers[: max(0, len(numbers) + 1 - KEPT_REVISIONS)]:
            await self._cluster.delete(f"{path}/{record_name(meta['name'], meta['uid'], number)}")
