"""From create to the first 200 of `/startup` of a sandbox, beside a bare container of the same create options.

The bare one runs `python3 -c pass`, measured from create to exit: what the engine and an interpreter cost anyway.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from bench import program
from bench.figures import BenchError, Effort, Figure, Series, Target, take_turns
from bench.sandboxes import Sandboxes, sandboxes

FULL = Effort(rounds=9)
TARGET = Target("ratio", "≤", 2.5)


class Took(NamedTuple):
    """Seconds: all of it, and how much of that the engine took before it said that the container runs."""

    total: float
    engine: float


def measure(effort: Effort) -> Sequence[Figure]:
    with sandboxes() as (made, runner):
        program.progress("cold start and bare container")
        sides = {"ours": partial(_sandbox, made, runner), "peer": partial(_bare, made)}
        take_turns(sides, 1)  # the first of each finds cold caches
        taken = take_turns(sides, effort.rounds)
    ours, peer = (Series(name, [took.total for took in taken[name]]) for name in ("ours", "peer"))
    named = Series("container, python3 -c pass", peer.values)
    return [Figure("hello, create to first answer", "s", ours, named, TARGET, _note(taken))]


def _sandbox(made: Sandboxes, runner: asyncio.Runner) -> Took:
    began = time.monotonic()
    instance = runner.run(made.start())
    started = time.monotonic()
    runner.run(made.wait(instance, "/startup"))
    answered = time.monotonic()
    runner.run(made.engine.remove(instance))
    return Took(answered - began, started - began)


def _bare(made: Sandboxes) -> Took:
    began = time.monotonic()
    container = made.start_bare(["python3", "-c", "pass"])
    started = time.monotonic()
    code = made.client.wait(container, timeout=60)["StatusCode"]
    ended = time.monotonic()
    made.remove(container)
    if code != 0:
        raise BenchError(f"the bare container ended with {code}")
    return Took(ended - began, started - began)


def _note(taken: dict[str, list[Took]]) -> str:
    said = []
    for side, name in (("ours", "sandbox"), ("peer", "bare container")):
        engine = statistics.median(took.engine for took in taken[side])
        rest = statistics.median(took.total - took.engine for took in taken[side])
        said.append(f"{name} {engine:.3f} s in the engine's calls + {rest:.3f} s")
    return "; ".join(said)


if __name__ == "__main__":
    sys.exit(program.run(measure, FULL, __doc__ or ""))
