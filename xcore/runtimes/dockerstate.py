"""Reading a container as the engine shows it: what it is, why it ended, and whether the engine itself was the cause."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from xcore.runtimes import envelope, procfs
from xcore.runtimes.dockersocket import endpoint_of
from xcore.runtimes.netns import Namespaces
from xcore.workload import Exit, ExitReason, Instance

SETTLING = 10.0
_ENDED = frozenset({"exited", "dead", "created", "removing"})
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def parse_time(text: str) -> float:
    """RFC 3339 with nanoseconds, as the engine writes it → epoch seconds; 0 for its zero time."""
    match = _TIME.fullmatch(text)
    if match is None or text.startswith("0001"):
        return 0.0
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).astimezone(UTC)
    return whole.timestamp() + float(match[2] or 0)


class Outages:
    """When the engine was away. What ended then, or just after it was back, ended because of it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last_seen = clock()
        self._from = 0.0
        self._until = 0.0
        self._away = False

    def seen(self) -> None:
        if self._away:
            self._away = False
            self._until = self._clock() + SETTLING
        self._last_seen = self._clock()

    def lost(self) -> None:
        if not self._away:
            self._away = True
            self._from = self._last_seen

    def covers(self, at: float) -> bool:
        return self._from > 0 and at >= self._from and (self._away or at <= self._until)


def exit_of(state: dict[str, Any], outages: Outages, *, out_of_memory: bool) -> Exit | None:
    """Give the end of a container, None while it lives."""
    if state["Status"] not in _ENDED:
        return None
    at = parse_time(state["FinishedAt"])
    code = state["ExitCode"]
    if state["Status"] == "created":
        return Exit(ExitReason.Evicted, None, at, "it was made but never started")
    if state["Status"] == "removing" and not out_of_memory:
        return Exit(ExitReason.Removed, None, at)
    return Exit(_reason(code, evicted=outages.covers(at), out_of_memory=out_of_memory), code, at)


def _reason(code: int, *, evicted: bool, out_of_memory: bool) -> ExitReason:
    if out_of_memory:
        return ExitReason.OutOfMemory
    if evicted:
        return ExitReason.Evicted
    if code == 0:
        return ExitReason.Completed
    # A shell's rule, kept by the init process: 128 + signal.
    return ExitReason.Signal if 128 < code < 128 + 65 else ExitReason.Error


def instance_of(found: dict[str, Any], *, outages: Outages, killed: bool, visits: Namespaces) -> Instance:
    """Read a container as the engine's inspect shows it; `killed`: an event told of a memory kill."""
    container, labels, state = found["Id"], found["Config"]["Labels"], found["State"]
    # An event can be missed; the kernel's own count of a living container cannot.
    missed = state["Running"] and procfs.oom_kills(state["Pid"]) > 0
    out_of_memory = bool(state.get("OOMKilled")) or killed or missed
    return Instance(
        id=container,
        plugin=labels[envelope.PLUGIN],
        revision=labels.get(envelope.REVISION, ""),
        generation=int(labels.get(envelope.GENERATION, "0")),
        started_at=parse_time(state["StartedAt"]) or parse_time(found["Created"]),
        endpoint=endpoint_of(found, visits),
        exit=exit_of(state, outages, out_of_memory=out_of_memory),
        oom=out_of_memory,
    )
