"""Having each plugin's network tried, a few at a time, as long as what was found holds."""

from __future__ import annotations

from collections.abc import Sequence

from xcore.clock import Clock
from xcore.runtimes.kubernetes.client import Cluster, Object
from xcore.runtimes.kubernetes.mirrors import Mirrors, plugin_of
from xcore.runtimes.kubernetes.objects import collection
from xcore.runtimes.kubernetes.probe import Place, Verdict, is_over, policy_id, probe_pod, verdict_of

AT_ONCE = 2
LOOK_AGAIN = 5.0


class Prober:
    """`places`: what is known to listen; without any nothing can be told."""

    def __init__(self, cluster: Cluster, mirrors: Mirrors, places: Sequence[Place], clock: Clock) -> None:
        self._cluster, self._mirrors, self._places, self._clock = cluster, mirrors, places, clock
        self._begun: dict[str, float] = {}  # when: the mirror may be behind

    async def prove(self, plugin: str, deployment: Object, known: Verdict) -> Verdict:
        """Give what is known of a plugin's network now; a probe is begun, or its finding taken, on the way."""
        meta = deployment["metadata"]
        policy = self._mirrors.get("NetworkPolicy", meta["namespace"], meta["name"])
        if policy is None or not self._places:
            return known
        probes = self._mirrors.probes(meta["namespace"])
        mine = [pod for pod in probes if plugin_of(pod) == plugin]
        for pod in mine:
            if is_over(pod):
                known = verdict_of(pod, policy_id(policy), self._clock.time())
                await self._cluster.delete(_path(pod), uid=pod["metadata"]["uid"])
        now = self._clock.time()
        begun = now - self._begun.get(plugin, 0.0) < LOOK_AGAIN
        if not mine and not begun and len(probes) < AT_ONCE and not known.holds(policy_id(policy), now):
            self._begun[plugin] = now
            await self._cluster.create(
                collection("Pod", meta["namespace"]), probe_pod(deployment, self._places)
            )
        return known


def _path(pod: Object) -> str:
    return f"{collection('Pod', pod['metadata']['namespace'])}/{pod['metadata']['name']}"
