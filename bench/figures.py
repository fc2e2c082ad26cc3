"""What a measurement is: two series taken in turns, their medians, the ratio, and the target it is held against.

Pure. A series holds one value per round. The ratio is that of the medians; `spread` tells what it was round by round,
so a noisy machine shows itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")


class BenchError(Exception):
    """One sentence: what is missing, or what went wrong. No figure is better than a wrong one."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: `rounds` of every side, `seconds` of load in each (where there is load)."""

    rounds: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on the ratio or on our own figure (in its unit); `aim` is what would be good."""

    of: Literal["ratio", "ours"]
    sign: Literal["≥", "≤"]
    bound: float
    aim: float | None = None

    def met_by(self, value: float) -> bool:
        return value >= self.bound if self.sign == "≥" else value <= self.bound


@dataclass(frozen=True, slots=True)
class Series:
    """One side, round by round; p50 and p99 in seconds where single answers were timed."""

    name: str
    values: Sequence[float]
    p50: Sequence[float] = ()
    p99: Sequence[float] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    unit: Literal["req/s", "s", "MB"]
    ours: Series
    peer: Series
    target: Target | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.ours.median / self.peer.median

    @property
    def spread(self) -> tuple[float, float]:
        ratios = [ours / peer for ours, peer in zip(self.ours.values, self.peer.values, strict=True)]
        return min(ratios), max(ratios)

    @property
    def passed(self) -> bool | None:
        """None: nothing was promised."""
        if self.target is None:
            return None
        return self.target.met_by(self.ratio if self.target.of == "ratio" else self.ours.median)

    def document(self) -> dict[str, Any]:
        """For `-o json`."""
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": _document(self.ours),
            "peer": _document(self.peer),
            "ratio": round(self.ratio, 4),
            "spread": [round(bound, 4) for bound in self.spread],
            "target": None if self.target is None else _bound(self.target),
            "passed": self.passed,
            "note": self.note,
        }


def take_turns(sides: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """A, B, A, B, …: what disturbs the machine for a while disturbs both sides."""
    taken: dict[str, list[T]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            taken[name].append(measure())
    return taken


def _document(series: Series) -> dict[str, Any]:
    found: dict[str, Any] = {"name": series.name, "median": series.median, "rounds": list(series.values)}
    if series.p50:
        found["p50_seconds"] = statistics.median(series.p50)
        found["p99_seconds"] = statistics.median(series.p99)
    return found


def _bound(target: Target) -> dict[str, Any]:
    return {"of": target.of, "sign": target.sign, "bound": target.bound, "aim": target.aim}
