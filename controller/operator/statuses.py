"""Writing `.status` of Plugin resources, when it differs, and the events a person looks for. Only the leader does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from controller.operator.resources import PluginResources
from xcore.clock import Clock, rfc3339
from xcore.errors import XcoreError
from xcore.manager import Manager
from xcore.runtimes.kubernetes.client import Cluster, Object
from xcore.runtimes.kubernetes.objects import collection
from xcore.runtimes.kubernetes.queue import KeyQueue
from xcore.status import TERMINATING
from xcore.xhooks import LONGEST_QUEUE, Event, InstanceExited, PluginRefused, StatusChanged

_log = logging.getLogger("xcore.operator")


class StatusWriter:
    """`leads` tells whether this replica may write now."""

    def __init__(
        self,
        cluster: Cluster,
        manager: Manager,
        resources: PluginResources,
        *,
        leads: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._cluster, self._manager, self._resources = cluster.fenced(leads), manager, resources
        self._leads, self._clock = leads, clock
        self._queue = KeyQueue(self._look)

    @property
    def trouble(self) -> str:
        """Tell that statuses cannot be written; empty while they can."""
        failing = self._queue.failing
        return f"the status of {failing} plugins cannot be written; the log says why" if failing else ""

    def look_at(self, item: Object) -> None:
        """A resource changed: its status may have been somebody else's work."""
        meta = item["metadata"]
        if meta.get("namespace"):
            self._queue.add(f"{meta['namespace']}/{meta['name']}")

    def look_at_all(self) -> None:
        for namespace, name in self._resources.all_keys():
            self._queue.add(f"{namespace}/{name}")

    async def run(self) -> None:
        """Follow what the manager tells, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            group.create_task(self._follow())

    async def _follow(self) -> None:
        kinds = (StatusChanged, PluginRefused, InstanceExited)
        with self._manager.bus.subscribe(*kinds, name="statuses", size=LONGEST_QUEUE) as events:
            lost = 0
            async for event in events:
                place = self._place(event)
                if events.lost != lost:
                    lost = events.lost
                    self.look_at_all()
                elif place is not None:
                    self._queue.add(place)
                if place is not None and isinstance(event, InstanceExited | PluginRefused) and self._leads():
                    await self._tell(place, event)

    def _place(self, event: Event) -> str | None:
        """Give the resource an event is about."""
        place = event.plugin if "/" in event.plugin else self._manager.folder_of(event.plugin)
        return place if place and "/" in place else None

    async def _look(self, place: str) -> float | None:
        namespace, _, name = place.partition("/")
        item = self._resources.get((namespace, name))
        status = self._wanted(place, item) if item is not None else None
        if item is None or status is None or not self._leads():
            return None
        wanted = _settled(status, item.get("status", {}))
        if wanted != item.get("status"):
            await self._cluster.merge(
                f"{collection('Plugin', namespace)}/{name}/status", _patch(wanted, item)
            )
        return None

    def _wanted(self, place: str, item: Object) -> dict[str, Any] | None:
        """Give what is so of a resource; of one that is being deleted nothing runs, whatever still holds it."""
        if "deletionTimestamp" in item["metadata"]:
            return _terminating(item, self._clock.time())
        return self._manager.status_of(place)

    async def _tell(self, place: str, event: InstanceExited | PluginRefused) -> None:
        namespace, _, name = place.partition("/")
        item = self._resources.get((namespace, name))
        if item is None:
            return
        if isinstance(event, InstanceExited):
            said = f"{event.instance} ended (exit code {event.exit_code}) {event.message}".strip()
        else:
            said = event.detail
        now = rfc3339(self._clock.time())
        told: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{name}.", "namespace": namespace},
            "involvedObject": {
                "apiVersion": item["apiVersion"],
                "kind": item["kind"],
                "namespace": namespace,
                "name": name,
                "uid": item["metadata"]["uid"],
            },
            "type": "Warning",
            "reason": event.reason,
            "message": said[:1024],
            "source": {"component": "xcore"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._cluster.create(collection("Event", namespace), told)
        except XcoreError as error:
            _log.warning("%s: an event could not be written: %s", place, error.detail)


def _terminating(item: Object, now: float) -> dict[str, Any] | None:
    """Give the last status with what holds the resource; None where it never had one."""
    before = item.get("status")
    if not before:
        return None
    held = ", ".join(item["metadata"].get("finalizers", ()))
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": TERMINATING,
        "message": f"it is being deleted, and stays until its finalizers are removed: {held}",
        "lastTransitionTime": rfc3339(now),
        "observedGeneration": item["metadata"]["generation"],
    }
    others = [condition for condition in before.get("conditions", ()) if condition["type"] != "Ready"]
    return {**before, "readyReplicas": 0, "conditions": [*others, ready]}


def _settled(status: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Absent, never null; and the time of a transition stays while the condition stays, whoever looks."""
    known = {c["type"]: c for c in before.get("conditions", ())}
    conditions = []
    for condition in status["conditions"]:
        old = known.get(condition["type"])
        same = old is not None and old["status"] == condition["status"]
        since = old["lastTransitionTime"] if old is not None and same else condition["lastTransitionTime"]
        conditions.append({**condition, "lastTransitionTime": since})
    return _without_null({**status, "conditions": conditions})


def _without_null(told: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in told.items():
        if value is not None:
            found[key] = _without_null(value) if isinstance(value, Mapping) else value
    return found


def _patch(wanted: dict[str, Any], item: Object) -> Object:
    """A merge patch that also takes away what is no more. Only one replica writes: nobody else's change is lost."""
    before = item.get("status", {})
    gone = dict.fromkeys(before.keys() - wanted.keys())
    restarts = {**dict.fromkeys(before.get("restarts", {})), **wanted.get("restarts", {})}
    return {"status": {**gone, **wanted, "restarts": restarts}}
