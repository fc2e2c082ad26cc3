"""Events as JSON: what is kept of each, and shown. Snapshots are for listeners; of a status, what changed is told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xcore.xhooks import Event, StatusChanged

MAX_TEXT = 4096  # characters of one text in an event; the rest of it is left out
_SHOWN_APART = frozenset({"plugin", "at", "before", "after"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsLost(Event):
    """So many events came in a row that the oldest could not be kept; the status of plugins is right nevertheless."""

    count: int


def kinds() -> list[str]:
    """Give every kind of event there is, those of integrations as well."""
    return sorted({kind.__name__ for kind in _below(Event)})


def told(event: Event) -> dict[str, Any] | None:
    """Give an event's own fields; of a status change the conditions that changed, and the restarts if they did.

    None where only a counter did: people want to hear of what a status says.
    """
    if isinstance(event, StatusChanged):
        return _change(event) or None
    fields = (field.name for field in dataclasses.fields(event))
    return {_camel(name): plain(getattr(event, name)) for name in fields if name not in _SHOWN_APART}


def plain(value: Any) -> Any:
    """Give a value as JSON has it, every text of it in bounds, whatever an integration's event may hold."""
    match value:
        case None | bool() | int():
            return value
        case float() if math.isfinite(value):
            return value
        case Mapping():
            return {plain(str(key)): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case _:
            return clean(str(value)[:MAX_TEXT])


def clean(text: str) -> str:
    """Give a text of a stranger's as every database keeps it and UTF-8 can say it: no NUL, no halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().replace("\0", "�")


def _change(event: StatusChanged) -> dict[str, Any]:
    """Repeat no condition that is as it was; what is told is small and can be read without the change before it."""
    old = event.before or {}
    before = {c["type"]: c for c in old.get("conditions", ())}
    changed = [
        {key: plain(condition[key]) for key in ("type", "status", "reason", "message")}
        for condition in event.after.get("conditions", ())
        if _essence(before.get(condition["type"])) != _essence(condition)
    ]
    restarts = event.after.get("restarts", {})
    again = restarts.get("count", 0) > old.get("restarts", {}).get("count", 0)
    spent = {key: plain(restarts.get(key)) for key in ("count", "lastReason", "lastExitCode")}
    return {**({"conditions": changed} if changed else {}), **({"restarts": spent} if again else {})}


def _essence(condition: Mapping[str, Any] | None) -> tuple[Any, ...] | None:
    return None if condition is None else (condition["status"], condition["reason"], condition["message"])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def _below(kind: type[Event]) -> Iterator[type[Event]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
