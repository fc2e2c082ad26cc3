"""A Runtime over a cluster: Kubernetes starts, restarts, moves and rolls; this says what it wants and tells what is so.

Level-triggered: a plugin's key comes up when its wish, its Deployment, its policy or one of its pods changed, and one look brings
the cluster in line. Only the replica that `leads` writes; every other tells the same from its own mirrors, so that
routes never depend on who leads. What must be remembered stands on the Deployment (see `state`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from xcore.clock import Clock, SystemClock, rfc3339, sleep
from xcore.errors import PluginNotFound, Problem, XcoreError
from xcore.manifest import Manifest
from xcore.restart import Restarts
from xcore.runtimes.hints import Hints
from xcore.runtimes.kubernetes import logs, objects
from xcore.runtimes.kubernetes.callers import PodName, Running, running_as
from xcore.runtimes.kubernetes.client import Cluster, Object
from xcore.runtimes.kubernetes.found import (
    complete,
    ended_by_probe,
    instance_of,
    missing_of,
    waits_for_volumes,
)
from xcore.runtimes.kubernetes.judge import judged
from xcore.runtimes.kubernetes.kept import Kept, observe
from xcore.runtimes.kubernetes.limits import problems
from xcore.runtimes.kubernetes.mirrors import Mirrors, plugin_of
from xcore.runtimes.kubernetes.numbers import Numbers
from xcore.runtimes.kubernetes.objects import RESTARTED, Surroundings
from xcore.runtimes.kubernetes.prober import Prober
from xcore.runtimes.kubernetes.queue import KeyQueue
from xcore.runtimes.kubernetes.state import State, counted, uncounted
from xcore.runtimes.kubernetes.wording import wished, worded
from xcore.runtimes.kubernetes.writer import Writer
from xcore.runtimes.seams import Drain, Exited, Observed
from xcore.workload import LogLine, Workload

MOUNT_SECONDS = 3.0  # what a pod may take to get its volumes, before events are asked for the reason
STOP_SECONDS = 30.0
LOOK_AGAIN = 30.0  # while something is on its way, and events might have been missed


class KubernetesRuntime:
    """See `Runtime`. `leads` tells whether this replica may write now."""

    def __init__(
        self,
        cluster: Cluster,
        surroundings: Surroundings,
        *,
        namespaces: Sequence[str],
        leads: Callable[[], bool] = lambda: True,
        clock: Clock | None = None,
    ) -> None:
        self._cluster, self._surroundings, self._leads = cluster, surroundings, leads
        self._clock = clock or SystemClock()
        self._mirrors = Mirrors(cluster, namespaces, self._seen, self._clock)
        self._writer = Writer(cluster.fenced(leads), self._mirrors)
        self._prober = Prober(cluster.fenced(leads), self._mirrors, surroundings.listens, self._clock)
        self._numbers = Numbers(surroundings.calls, self._clock)
        self._queue = KeyQueue(self._look)
        self._hints = Hints()
        self._kept: dict[str, Kept] = {}
        self._gone: dict[str, asyncio.Event] = {}
        self._exited: Exited = lambda _instance, _ended: None
        self._tasks: list[asyncio.Task[None]] = []

    def attach(self, *, drain: Drain, exited: Exited) -> None:  # noqa: ARG002  pods linger while they are drained
        self._exited = exited

    def check(self, manifest: Manifest) -> Sequence[Problem]:
        return problems(manifest, calls=bool(self._surroundings.calls))

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:
        kept = self._kept.get(workload.name) if workload else None
        state = kept.state_by(self._found(kept.workload)[0]) if kept else State()
        return state.verdict.condition

    def image(self, workload: Workload | None) -> str:
        """What its newest pods run from: that of code is another one after an update of the controller, which rolls nobody."""
        deployment = self._found(workload)[0] if workload else None
        if deployment is not None:
            return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
        return (workload.image if workload else "") or self._surroundings.image

    async def open(self) -> None:
        """Begin to mirror; returns when everything has been listed once, or cannot be for now."""
        self._tasks = [*self._mirrors.start(), asyncio.create_task(self._queue.run())]
        await self._mirrors.wait_synced()

    # -- what is wanted -----------------------------------------------------------------------------------------

    def apply(
        self,
        workload: Workload,
        *,
        fallback: Workload | None,  # noqa: ARG002  ReplicaSets keep it
        suspended: bool,
        history: Restarts,  # noqa: ARG002  the Deployment keeps it
    ) -> None:
        before = self._kept.get(workload.name)
        same = before is not None and before.workload.revision == workload.revision
        wanted_at = before.wanted_at if before and same else self._clock.time()
        kept = self._kept[workload.name] = Kept(workload, suspended, wanted_at)
        if before is not None:
            kept.state, kept.restarted = before.state, before.restarted if same else ""
        if workload.name in self._gone:
            self._gone.pop(workload.name).set()
        self._queue.add(workload.name)

    def restart(self, plugin: str, workload: Workload) -> None:
        """Note it on the Deployment, as `kubectl rollout restart` does; any replica may."""
        kept = self._kept.get(plugin)
        if kept is None:
            raise PluginNotFound(f"there is no plugin {plugin!r}")
        kept.workload, kept.restarted = workload, rfc3339(self._clock.time())
        task = asyncio.create_task(self._noted(kept))
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    async def _noted(self, kept: Kept) -> None:
        workload = kept.workload
        namespace = objects.namespace_of(workload, self._surroundings)
        path = f"{objects.collection('Deployment', namespace)}/{objects.name_of(workload.name)}"
        marked: Object = {"metadata": {"annotations": {RESTARTED: kept.restarted}}}
        try:
            await self._cluster.merge(path, {"spec": {"template": marked}})
        except XcoreError as error:
            kept.failure, kept.restarted = error, ""
            self._hints.give(workload.name)

    async def remove(self, plugin: str) -> None:
        self._kept.pop(plugin, None)
        gone = self._gone.setdefault(plugin, asyncio.Event())
        self._queue.add(plugin)
        if self._leads():
            await gone.wait()

    # -- what is so ---------------------------------------------------------------------------------------------

    def observed(self, plugin: str) -> Observed | None:
        kept = self._kept.get(plugin)
        if kept is None:
            return None
        deployment, pods = self._found(kept.workload)
        return observe(kept, deployment, pods, away=self._mirrors.failure)

    def watch(self) -> AsyncIterator[str]:
        return self._hints.follow()

    def poke(self, plugin: str) -> None:
        self._queue.add(plugin)

    def look_at_all(self) -> None:
        """Somebody else may have led until now."""
        for plugin in {*self._kept, *self._gone}:
            self._queue.add(plugin)

    async def logs(self, plugin: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        kept = self._kept.get(plugin)
        pods = self._found(kept.workload)[1] if kept else []
        async for line in logs.lines_of(self._cluster, pods, lines=lines, follow=follow):
            yield line

    def running(self, pod: PodName) -> Running | None:
        """See `Find`."""
        item = self._mirrors.get("Pod", pod.namespace, pod.name)
        kept = self._kept.get(plugin_of(item)) if item else None
        if kept is None or objects.namespace_of(kept.workload, self._surroundings) != pod.namespace:
            return None
        return running_as(pod, item)

    # -- one look -----------------------------------------------------------------------------------------------

    def _seen(self, plugin: str) -> None:
        self._hints.give(plugin)
        self._queue.add(plugin)

    def _found(self, workload: Workload) -> tuple[Object | None, list[Object]]:
        namespace = objects.namespace_of(workload, self._surroundings)
        return self._mirrors.found(namespace, workload.name)

    async def _look(self, plugin: str) -> float | None:
        kept = self._kept.get(plugin)
        if kept is None and plugin not in self._gone:
            return None  # not heard of yet, or somebody else's: only what was wanted once is removed
        if not self._leads() or not self._mirrors.synced:
            return await self._look_on(kept) if kept is not None else LOOK_AGAIN
        if kept is None:
            return await self._clear(plugin)
        try:
            await self._bring_in_line(kept)
        except XcoreError as error:
            kept.failure = error
            raise
        else:
            kept.failure = None
            return await self._look_at_mounts(kept)
        finally:
            self._hints.give(plugin)

    async def _look_on(self, kept: Kept) -> float:
        """Another one writes: find out what it finds, so that every replica tells the same."""
        kept.state = kept.failure = None
        if not self._mirrors.synced:
            return LOOK_AGAIN
        try:
            return await self._look_at_mounts(kept)
        finally:
            self._hints.give(kept.workload.name)

    async def _bring_in_line(self, kept: Kept) -> None:
        deployment, pods = self._found(kept.workload)
        if deployment is None and kept.suspended:
            return  # there is nothing to suspend
        before = kept.state_by(deployment)
        policy, probed = kept.workload.manifest.spec.restart, await self._probed(before, pods)
        state = counted(before, pods, policy, probed=probed)
        state = judged(kept.workload, deployment, pods, state)
        self._tell_exits(before, state, pods)
        await self._write(kept, state, deployment)
        if deployment is not None and deployment["spec"].get("replicas") and complete(deployment):
            found = await self._prober.prove(kept.workload.name, deployment, state.verdict)
            state = replace(state, verdict=found)
        if deployment is not None and state != before:
            await self._writer.remember(deployment, state)
            kept.state = state

    async def _probed(self, before: State, pods: Sequence[Object]) -> set[str]:
        """Find out which pods ended because a probe failed."""
        new = [pod for pod in pods if uncounted(before, pod)]
        by_probe = [pod for pod in new if ended_by_probe(pod, await self._writer.events_of(pod))]
        return {pod["metadata"]["uid"] for pod in by_probe}

    async def _look_at_mounts(self, kept: Kept) -> float:
        """Find out what pods wait for; gives when to look again."""
        stuck = [pod for pod in self._found(kept.workload)[1] if waits_for_volumes(pod)]
        kept.missing = None
        now = self._clock.time()
        for pod in stuck:
            if now - instance_of(pod).started_at > MOUNT_SECONDS:
                kept.missing = kept.missing or missing_of(await self._writer.events_of(pod))
        return MOUNT_SECONDS if stuck else LOOK_AGAIN

    def _tell_exits(self, before: State, after: State, pods: Sequence[Object]) -> None:
        for pod in pods:
            uid = pod["metadata"]["uid"]
            if after.restarts.last is not None and after.seen.get(uid, 0) > before.seen.get(uid, 0):
                self._exited(instance_of(pod), after.restarts.last)

    async def _write(self, kept: Kept, state: State, deployment: Object | None) -> None:
        wish = await wished(kept, state, deployment, self._numbers)
        if not self._writer.stands(wish):
            wanted = await worded(wish, self._surroundings, deployment, self._writer.template_of)
            await self._writer.write(wish, wanted)

    async def _clear(self, plugin: str) -> float | None:
        """Delete everything of a plugin nobody wants; done when its pods are gone."""
        if not await self._writer.clear(plugin):
            return LOOK_AGAIN
        if plugin in self._gone:
            self._gone.pop(plugin).set()
        return None

    # -- cleaning up --------------------------------------------------------------------------------------------

    async def sweep(self) -> Sequence[str]:
        """Delete what carries our labels and nobody wants; gives the pods that go by it."""
        if not self._leads():
            return []
        orphans = [plugin for plugin in self._mirrors.plugins() if plugin not in self._kept]
        pods = [
            item for plugin in orphans for kind, item in self._mirrors.everything(plugin) if kind == "Pod"
        ]
        for plugin in orphans:
            await self.remove(plugin)
        return [instance_of(pod).id for pod in pods]

    async def stop_all(self) -> None:
        """Scale everything to nothing, and wait for the pods to go; the objects stay."""
        for plugin, kept in self._kept.items():
            kept.suspended = True
            self._queue.add(plugin)
        until = self._clock.time() + STOP_SECONDS
        while self._clock.time() < until and any(
            self._found(kept.workload)[1] for kept in self._kept.values()
        ):
            await sleep(self._clock, 0.2)

    async def aclose(self) -> None:
        """Stop looking; the client goes on for whoever reached the cluster."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
