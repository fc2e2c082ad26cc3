"""What short calls feel of a hundred open streams: the p99 of `hello/greet` beside them, and without them.

One controller, two sandboxes. Each stream gives five items a second, as JSON lines. The listeners are a process of their
own, so that only the controller is shared.
"""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import program
from bench.figures import BenchError, Effort, Figure, Series, Target, take_turns
from bench.neighbours import RATE, p99
from bench.processes import child, workspace
from bench.running import Controller, controller, copy_example, write_plugin
from bench.sandboxes import require_engine
from bench.wrk import Load

FULL = Effort(rounds=5, seconds=12.0)
STREAMS = 100
BESIDE, WITHOUT = f"beside {STREAMS} streams", "without"
TARGET = Target("ratio", "≤", 1.5)
CODE = textwrap.dedent("""
    import asyncio
    from collections.abc import AsyncIterator

    from xcore.plugin import Plugin, action


    class Ticker(Plugin):
        @action
        async def tick(self) -> AsyncIterator[int]:
            for number in range(10_000):
                yield number
                await asyncio.sleep(0.2)
""")
MANIFEST = {
    "apiVersion": "xcore.dev/v1alpha1",
    "kind": "Plugin",
    "metadata": {"name": "ticker"},
    "spec": {"entrypoint": "main:Ticker", "traffic": {"maxConcurrentRequests": 2 * STREAMS}},
}


def measure(effort: Effort) -> Sequence[Figure]:
    require_engine()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        copy_example("hello", directory)
        write_plugin("ticker", MANIFEST, CODE, directory)
        running = stack.enter_context(controller(directory))
        hello = running.load("hello/greet", '{"name": "Ada"}')
        running.answer(hello)
        running.answer(running.load("ticker", None))
        program.progress(f"the p99 of short calls beside {STREAMS} streams")
        p99(hello, 2.0)
        sides = {
            BESIDE: partial(_beside, running, hello, effort.seconds, directory),
            WITHOUT: partial(p99, hello, effort.seconds),
        }
        taken = take_turns(sides, effort.rounds)
    what = f"p99 of hello/greet at {RATE} req/s {BESIDE}"
    return [Figure(what, "s", Series(BESIDE, taken[BESIDE]), Series(WITHOUT, taken[WITHOUT]), TARGET)]


def _beside(running: Controller, hello: Load, seconds: float, directory: Path) -> float:
    log = directory / "listeners.log"
    command = [sys.executable, "-m", "bench.listeners", str(running.port), running.key, str(STREAMS)]
    with child(command, log=log):
        found = p99(hello, seconds)
    heard = log.read_text().split()
    if not heard or int(heard[-1]) < STREAMS * seconds:
        raise BenchError(f"the {STREAMS} streams were not all there: {' '.join(heard[-5:])}")
    return found


if __name__ == "__main__":
    sys.exit(program.run(measure, FULL, __doc__ or ""))
