"""What a Plugin resource and its logs say to an author at work: did the save arrive, and what is new. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xcore import restart
from xcore.testing.alone import conditions, given_up
from xcore.testing.frames import OwnFrames


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the newest save came out; equal verdicts are told once. `key` tells apart what reads alike."""

    good: bool
    key: str
    text: str


def verdict(resource: Mapping[str, Any]) -> Verdict | None:
    """Judge, or None while it is under way."""
    status, found = resource["status"], conditions(resource)
    why = given_up(resource)
    if why is not None:
        text = ": ".join(filter(None, why))
        if any(c["status"] == "False" for kind, c in found.items() if kind not in {"Ready", "Active"}):
            return Verdict(good=False, key=status.get("updateRevision", ""), text=text)
        # An instance that starts now may still do: the end that is told of was another one's.
        restarts = status["restarts"]
        if restarts["nextTime"] or why[0] in {restart.EXITED, restart.EXHAUSTED, "Suspended"}:
            return Verdict(good=False, key=str(restarts["count"]), text=text)
        return None
    if found["Ready"]["status"] == "True" and found["Progressing"]["reason"] == "NewRevisionAvailable":
        return Verdict(good=True, key=status["currentRevision"], text="")
    return None


def preparing(resource: Mapping[str, Any]) -> str:
    """Say what is being made ready before the save can run, empty where nothing is."""
    progressing = conditions(resource).get("Progressing", {})
    return progressing["message"] if progressing.get("reason") == "Preparing" else ""


class Output:
    """The lines of each instance, each once, tracebacks from their author's first frame on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[list[str], OwnFrames]] = {}

    def fresh(self, written: Sequence[Mapping[str, str]]) -> list[str]:
        """Give what came since the last call; `written` is the latest lines of every instance."""
        now: dict[str, list[str]] = {}
        for entry in written:
            now.setdefault(entry["instance"], []).append(entry["text"])
        shown = []
        for instance, lines in now.items():
            before, frames = self._known.get(instance, ([], OwnFrames(self._folder)))
            for line in lines[overlap(before, lines) :]:
                shown += frames.feed(line)
            self._known[instance] = lines, frames
        self._known = {instance: known for instance, known in self._known.items() if instance in now}
        return shown


def overlap(before: list[str], now: list[str]) -> int:
    """Count the lines at the start of `now` that ended `before`; the last one may have been half a line."""
    for known in (before, before[:-1]):
        for size in range(min(len(known), len(now)), 0, -1):
            if known[-size:] == now[:size]:
                return size
    return 0
