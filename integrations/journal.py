"""The journal: listens to xhooks and remembers the latest events, for whoever asks later or follows along."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from xcore.clock import rfc3339
from xcore.xhooks import LONGEST_QUEUE, Event, HookBus, StatusChanged

KEPT = 1000
_SHOWN_APART = frozenset({"plugin", "at", "before", "after"})  # snapshots are for listeners


class Journal:
    """The last 1,000 events, oldest first, as JSON objects with a number of their own."""

    def __init__(self, bus: HookBus) -> None:
        self._bus = bus
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._number = 0

    async def run(self) -> None:
        """Listen until cancelled."""
        with self._bus.subscribe(Event, name="journal", size=LONGEST_QUEUE) as events:
            async for event in events:
                if _worth_telling(event):
                    self._number += 1
                    self._kept.append({"id": self._number, **told(event)})

    def latest(self, plugin: str | None = None) -> list[dict[str, Any]]:
        return [event for event in self._kept if plugin is None or event["plugin"] == plugin]

    async def follow(self, plugin: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield events as they happen, from now on."""
        with self._bus.subscribe(Event, name="follower") as events:
            async for event in events:
                if (plugin is None or event.plugin == plugin) and _worth_telling(event):
                    yield told(event)


def _worth_telling(event: Event) -> bool:
    """A status changes with every counter in it; people want to hear of its conditions."""
    return not isinstance(event, StatusChanged) or bool(_change(event)["conditions"])


def told(event: Event) -> dict[str, Any]:
    """Give an event as JSON: its kind, plugin and time, and its own fields; a status change by its conditions only."""
    common = {"kind": event.kind, "plugin": event.plugin, "at": rfc3339(event.at)}
    if isinstance(event, StatusChanged):
        return {**common, **_change(event)}
    fields = (field.name for field in dataclasses.fields(event))
    own = {name: getattr(event, name) for name in fields if name not in _SHOWN_APART}
    return {**common, **{_camel(name): value for name, value in own.items()}}


def _change(event: StatusChanged) -> dict[str, Any]:
    before = {c["type"]: c for c in (event.before or {"conditions": []})["conditions"]}
    changed = [
        {key: condition[key] for key in ("type", "status", "reason", "message")}
        for condition in event.after["conditions"]
        if _essence(before.get(condition["type"])) != _essence(condition)
    ]
    return {"conditions": changed}


def _essence(condition: dict[str, Any] | None) -> tuple[Any, ...] | None:
    return None if condition is None else (condition["status"], condition["reason"], condition["message"])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
