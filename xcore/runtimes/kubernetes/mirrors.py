"""What the cluster holds of ours, mirrored: pods, Deployments and network policies in the namespaces of plugins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from xcore.clock import Clock
from xcore.errors import RuntimeUnavailable
from xcore.runtimes.kubernetes.client import Cluster, Object
from xcore.runtimes.kubernetes.objects import MANAGED_BY, OURS, PLUGIN, collection, name_of
from xcore.runtimes.kubernetes.probe import is_probe
from xcore.runtimes.kubernetes.reflector import Reflector, Selection

SYNC_SECONDS = 20.0
SELECTOR = f"{MANAGED_BY}={OURS}"
_KINDS = ("Pod", "Deployment", "NetworkPolicy")


class Mirrors:
    """`changed(plugin)` is called for every change to anything of it. No namespaces: all of them."""

    def __init__(
        self, cluster: Cluster, namespaces: Sequence[str], changed: Callable[[str], None], clock: Clock
    ) -> None:
        def told(item: Object) -> None:
            if plugin := plugin_of(item):
                changed(plugin)

        self._reflectors = {
            (kind, namespace): Reflector(
                cluster,
                Selection(collection(kind, namespace), {"labelSelector": SELECTOR}),
                changed=told,
                clock=clock,
            )
            for namespace in namespaces or ("",)
            for kind in _KINDS
        }

    def start(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(reflector.run()) for reflector in self._reflectors.values()]

    async def wait_synced(self) -> None:
        """Return when all has been listed once, or after SYNC_SECONDS."""
        waiting = [asyncio.create_task(r.synced.wait()) for r in self._reflectors.values()]
        _, late = await asyncio.wait(waiting, timeout=SYNC_SECONDS)
        for task in late:
            task.cancel()

    @property
    def synced(self) -> bool:
        return all(reflector.synced.is_set() for reflector in self._reflectors.values())

    @property
    def failure(self) -> RuntimeUnavailable | None:
        """Why what is mirrored may be old: never heard, not for long, or refused."""
        troubles = (reflector.trouble for reflector in self._reflectors.values())
        return next((RuntimeUnavailable(trouble) for trouble in troubles if trouble), None)

    def found(self, namespace: str, plugin: str) -> tuple[Object | None, list[Object]]:
        """Give the Deployment of a plugin and its pods, probes left out."""
        pods = [pod for pod in self._pods(namespace) if plugin_of(pod) == plugin and not is_probe(pod)]
        return self.get("Deployment", namespace, name_of(plugin)), pods

    def probes(self, namespace: str) -> list[Object]:
        """Give the pods that try whether a network is closed."""
        return [pod for pod in self._pods(namespace) if is_probe(pod)]

    def _pods(self, namespace: str) -> list[Object]:
        reflector = self._reflector("Pod", namespace)
        return (
            [pod for key, pod in list(reflector.objects.items()) if key[0] == namespace] if reflector else []
        )

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Give one object as it was last seen."""
        reflector = self._reflector(kind, namespace)
        return reflector.objects.get((namespace, name)) if reflector else None

    def everything(self, plugin: str) -> Iterator[tuple[str, Object]]:
        """Give all that is known of a plugin, wherever it is: (kind, object)."""
        for (kind, _), reflector in self._reflectors.items():
            for item in list(reflector.objects.values()):
                if plugin_of(item) == plugin:
                    yield kind, item

    def plugins(self) -> set[str]:
        """Give every plugin that something is there of."""
        return {plugin_of(item) for r in self._reflectors.values() for item in list(r.objects.values())} - {
            ""
        }

    def _reflector(self, kind: str, namespace: str) -> Reflector | None:
        return self._reflectors.get((kind, namespace)) or self._reflectors.get((kind, ""))


def plugin_of(item: Object) -> str:
    """Tell which plugin an object is of."""
    return str(item["metadata"].get("labels", {}).get(PLUGIN, ""))
