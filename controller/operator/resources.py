"""Plugin resources as a door of what is wanted, beside folders and the API. Read here, judged like any manifest.

A resource is never trusted, whatever it says; a class it names must be there and must not forbid it. Two resources that
want one name: the older has it (see `xcore.directory`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from controller.operator.codemaps import Bundles
from controller.operator.history import declared
from xcore.bundle import revision
from xcore.clock import Clock
from xcore.errors import (
    ClassForbids,
    InvalidManifest,
    InvalidSpec,
    NotAllowedTrusted,
    NotSupported,
    RuntimeUnavailable,
    XcoreError,
)
from xcore.instance_spec import Isolation
from xcore.loader import Declared
from xcore.manifest import KIND, Manifest, from_dict, not_yet
from xcore.plugin_class import demands_proof, forbids, from_dict as class_from_dict, with_defaults
from xcore.runtimes.kubernetes.client import Cluster, Object
from xcore.runtimes.kubernetes.kept import NAME
from xcore.runtimes.kubernetes.objects import MANAGED_BY, OURS, collection
from xcore.runtimes.kubernetes.reflector import Key, Reflector, Selection
from xcore.workload import Origin

HEARD_SECONDS = 5.0  # what a watch may take to tell of what was written
CLASSES = "/apis/xcore.dev/v1alpha1/pluginclasses"


def place_of(item: Object) -> str:
    """Name a resource as other doors name folders."""
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


class PluginResources:
    """See `Source`. `changed` is called when any resource or class is different."""

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Sequence[str],
        bundles: Bundles,
        *,
        changed: Callable[[Object], None],
        clock: Clock,
    ) -> None:
        def told(item: Object) -> None:
            for waiting in self._waiting:
                waiting.set()
            changed(item)

        def reflector(path: str) -> Reflector:
            return Reflector(cluster, Selection(path), changed=told, clock=clock)

        self.namespaces = namespaces or ("",)
        self._bundles, self._clock = bundles, clock
        self._plugins = {
            namespace: reflector(collection("Plugin", namespace)) for namespace in self.namespaces
        }
        self._classes = reflector(CLASSES)
        self._maps = {
            namespace: Reflector(
                cluster,
                Selection(collection("ConfigMap", namespace), slim=True),
                changed=self._map_changed,
                clock=clock,
            )
            for namespace in self.namespaces
        }
        self._changed = changed
        self._read: dict[str, tuple[str, Declared]] = {}
        self._waiting: set[asyncio.Event] = set()

    def start(self) -> list[asyncio.Task[None]]:
        reflectors = [*self._plugins.values(), self._classes, *self._maps.values()]
        return [asyncio.create_task(reflector.run()) for reflector in reflectors]

    def map_version(self, namespace: str, name: str) -> str:
        """Give the version of a ConfigMap, as it was last heard of; empty where there is none."""
        reflector = self._maps.get(namespace) or self._maps.get("")
        found = reflector.objects.get((namespace, name)) if reflector else None
        return str(found["metadata"]["resourceVersion"]) if found else ""

    def _map_changed(self, item: Object) -> None:
        """Ours are made by those who hear of plugins anyway."""
        if item["metadata"].get("labels", {}).get(MANAGED_BY) != OURS:
            self._changed(item)

    def is_news(self, item: Object) -> bool:
        """Tell whether a change may be one of what is wanted: most are of a status that was written."""
        if item.get("kind") != KIND:
            return True
        known = self._read.get(place_of(item))
        now = self.get((item["metadata"]["namespace"], item["metadata"]["name"]))
        return known is None or now is None or known[0] != self._version(now)

    def troubles(self) -> list[str]:
        """Tell why what is declared here may be old; empty while it is not."""
        reflectors = (*self._plugins.values(), self._classes, *self._maps.values())
        return [reflector.trouble for reflector in reflectors if reflector.trouble]

    def get(self, key: Key) -> Object | None:
        reflector = self._plugins.get(key[0]) or self._plugins.get("")
        return reflector.objects.get(key) if reflector else None

    def all_keys(self) -> Iterator[Key]:
        for reflector in self._plugins.values():
            yield from list(reflector.objects)

    def namespace_of(self, name: str) -> str:
        """Tell where the resource is that has a name: of several, the oldest; empty where there is none."""
        found = [self.get((namespace, name)) for namespace in self.namespaces if namespace]
        if not all(self.namespaces):  # all of them are watched together
            found = [item for key, item in list(self._plugins[""].objects.items()) if key[1] == name]
        metas = [item["metadata"] for item in found if item is not None]
        return str(
            min(((meta["creationTimestamp"], meta["namespace"]) for meta in metas), default=("", ""))[1]
        )

    def digests(self) -> frozenset[str]:
        """Give the code that is wanted, by its digest."""
        items = [item for r in self._plugins.values() for item in list(r.objects.values())]
        return frozenset(_bundle(item["spec"].get("source", {}).get("bundle")) for item in items)

    async def heard(self, written: Object) -> None:
        """Return once this, or what came after it, is what is declared here; or after HEARD_SECONDS."""
        meta = written["metadata"]

        def holds(now: Object | None) -> bool:
            # Versions count up, and may be compared (kubernetes.io, "Resource versions").
            seen = now["metadata"]["resourceVersion"] if now is not None else 0
            return int(seen) >= int(meta["resourceVersion"])

        await self._until((meta["namespace"], meta["name"]), holds)

    async def heard_gone(self, deleted: Object) -> None:
        """Return once this is not declared here any more; or after HEARD_SECONDS."""
        meta = deleted["metadata"]

        def holds(now: Object | None) -> bool:
            return (
                now is None or now["metadata"]["uid"] != meta["uid"] or "deletionTimestamp" in now["metadata"]
            )

        await self._until((meta["namespace"], meta["name"]), holds)

    async def _until(self, key: Key, holds: Callable[[Object | None], bool]) -> None:
        turned = asyncio.Event()
        self._waiting.add(turned)
        until = self._clock.time() + HEARD_SECONDS
        try:
            while not holds(self.get(key)):
                turned.clear()
                if not await self._clock.wait(turned, until - self._clock.time()):
                    return
        finally:
            self._waiting.discard(turned)

    def scan(self) -> list[Declared]:
        """Give every resource; raises RuntimeUnavailable before all were listed once."""
        waiting = [r for r in (*self._plugins.values(), *self._maps.values()) if not r.synced.is_set()]
        if waiting:
            raise RuntimeUnavailable(waiting[0].failure or "the cluster's resources are not listed yet")
        items = [item for r in self._plugins.values() for item in list(r.objects.values())]
        found = [self._declared(item) for item in items if "deletionTimestamp" not in item["metadata"]]
        there = {declared.folder for declared in found}
        self._read = {place: read for place, read in self._read.items() if place in there}
        return found

    def _declared(self, item: Object) -> Declared:
        place, version = place_of(item), self._version(item)
        known = self._read.get(place)
        if known is not None and known[0] == version:
            return known[1]
        judged = self._judged(item, place)
        self._read[place] = (version, judged)
        return judged

    def _version(self, item: Object) -> str:
        """Another one whenever the judgement may be another: status does not count, metadata does."""
        name = item["spec"].get("pluginClassName", "")
        plugin_class = self._classes.objects.get(("", name), {})
        meta = item["metadata"]
        noted = sorted((meta.get("annotations") or {}).items()), sorted((meta.get("labels") or {}).items())
        judged_by = plugin_class.get("metadata", {}).get("resourceVersion"), self._classes.synced.is_set()
        return f"{meta['uid']} {meta['generation']} {noted} {judged_by}"

    def _judged(self, item: Object, place: str) -> Declared:
        meta = item["metadata"]
        origin = Origin(meta["namespace"], meta["uid"])
        about: dict[str, Any] = {
            "origin": origin,
            "name": meta["name"],
            "generation": meta["generation"],
            "since": meta["creationTimestamp"],
        }
        manifest: Manifest | None = None
        try:
            manifest = _manifest(item)
            manifest, about["proof"] = self._classed(manifest)
        except XcoreError as error:
            return Declared(place, manifest, error=error, **about)
        image, digest = manifest.spec.source.image or "", _bundle(manifest.spec.source.bundle)
        named = revision(digest or image, manifest) if digest or image else ""
        if digest and (code := self._bundles.here(origin.namespace, meta["name"], digest)):
            return Declared(place, manifest, digest, named, code, **about)
        return Declared(place, manifest, revision=named, image=image, **about)

    def _classed(self, manifest: Manifest) -> tuple[Manifest, bool]:
        """Give the manifest as its class has it, and whether that demands proof that its network is closed."""
        name = manifest.spec.plugin_class_name
        if name is None:
            return manifest, False
        found = self._classes.objects.get(("", name))
        if not self._classes.synced.is_set():
            raise ClassForbids(f"the class {name} cannot be read: {self._classes.failure or 'not yet'}")
        if found is None:
            raise ClassForbids(f"there is no PluginClass {name}")
        plugin_class = class_from_dict(found)
        told = manifest
        manifest = with_defaults(plugin_class, told)
        if manifest != told and (problems := not_yet(manifest)):
            raise NotSupported(f"it has the egress.default of the class {name}", problems)
        if problems := forbids(plugin_class, manifest, runtime=NAME):
            raise ClassForbids(f"the class {name} forbids it", problems)
        return manifest, demands_proof(plugin_class, manifest, runtime=NAME)


def _bundle(named: str | None) -> str:
    return (named or "").removeprefix("sha256:")


def _manifest(item: Object) -> Manifest:
    meta = item["metadata"]
    try:
        manifest = from_dict(declared(item), name=meta["name"])
    except InvalidManifest as error:
        raise InvalidSpec(error.detail, error.problems) from error
    if manifest.spec.isolation is Isolation.TRUSTED:
        raise NotAllowedTrusted("a resource of the cluster is never trusted")
    return manifest
