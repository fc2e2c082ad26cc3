"""The schedules of plugins as tasks: an action, called on the way of every request, by the clock instead of a person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from integrations.tasks.calling import Caller, Sent
from integrations.tasks.task import Run, RunFailed, Task
from xcore.routes import Route
from xcore.schedule import Schedule

# The data plane keeps the deadline; this one is for what should not happen.
GRACE_SECONDS = 5.0
_TEXT = ("application/json", "application/problem+json", "text/")
SUSPENDED = "Suspended"


def scheduled(routes: Iterable[Route], call: Caller) -> list[Task]:
    """Give a task for each schedule of each accepted plugin: `<plugin>.<action>`, the second of an action `….2`."""
    return [task for route in routes for task in _of(route, call)]


def _of(route: Route, call: Caller) -> Iterable[Task]:
    seen: Counter[str] = Counter()
    for schedule in route.manifest.spec.schedules:
        seen[schedule.action] += 1
        number = f".{seen[schedule.action]}" if seen[schedule.action] > 1 else ""
        yield Task(
            id=f"{route.plugin}.{schedule.action}{number}",
            title=f"Calls {schedule.action} of {route.plugin}.",
            times=schedule.times,
            timeout=schedule.timeout_seconds + GRACE_SECONDS,
            do=_Action(route.plugin, schedule, call),
            retries=schedule.retries,
            plugin=route.plugin,
            action=schedule.action,
            paused=not route.targets and route.reason == SUSPENDED,
        )


class _Action:
    def __init__(self, plugin: str, schedule: Schedule, call: Caller) -> None:
        self._plugin, self._schedule, self._call = plugin, schedule, call

    async def __call__(self, run: Run) -> str:
        schedule = self._schedule
        headers = (("content-type", "application/json"), ("idempotency-key", run.key))
        target = f"/app/{self._plugin}/{schedule.action}"
        sent = Sent("POST", target, headers, json.dumps(schedule.arguments).encode())
        told = await self._call(sent, schedule.timeout_seconds)
        if not told.well:
            raise RunFailed(told)
        readable = told.media_type.startswith(_TEXT)
        return told.body.decode(errors="replace") if readable else f"{len(told.body)} bytes"
