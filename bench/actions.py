"""A typed action through a whole controller, sandboxed and trusted, beside a bare FastAPI route that greets.

The controller is `xcore serve` with the Docker runtime, its state in a temporary directory; the key is checked on
every request. The peer is the ordinary way: one process, no isolation, no key.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import program, wrk
from bench.figures import BenchError, Effort, Figure, take_turns
from bench.processes import child, free_port, wait_answer, workspace
from bench.running import controller, copy_example
from bench.sandboxes import require_engine
from bench.wrk import Load

FULL = Effort(rounds=7, seconds=5.0)
CONNECTIONS = 32
SANDBOXED, TRUSTED, PEER = "hello/greet", "clock/now", "FastAPI"
GREETING = '{"name": "Ada"}'


def measure(effort: Effort) -> Sequence[Figure]:
    wrk.require("wrk")
    require_engine()
    with contextlib.ExitStack() as stack:
        loads = _start(stack, stack.enter_context(workspace()))
        program.progress("a sandboxed and a trusted action, and a bare FastAPI route")
        for load in loads.values():
            wrk.run(load, connections=CONNECTIONS, seconds=wrk.WARM_UP_SECONDS)
        sides = {
            name: partial(wrk.run, load, connections=CONNECTIONS, seconds=effort.seconds)
            for name, load in loads.items()
        }
        taken = take_turns(sides, effort.rounds)
    peer = wrk.series(PEER, taken[PEER])
    return [
        Figure(f"{kind} action {name}, c = {CONNECTIONS}", "req/s", wrk.series(name, taken[name]), peer)
        for kind, name in (("sandboxed", SANDBOXED), ("trusted", TRUSTED))
    ]


def _start(stack: contextlib.ExitStack, directory: Path) -> dict[str, Load]:
    """Start controller and peer; all three answer when this returns."""
    for name in ("hello", "clock"):
        copy_example(name, directory)
    peer_port, peer_log = free_port(), directory / "FastAPI.log"
    running = stack.enter_context(controller(directory, TRUSTED="clock"))
    stack.enter_context(child([sys.executable, "-m", "bench.ordinary", str(peer_port)], log=peer_log))
    loads = {
        SANDBOXED: running.load(SANDBOXED, GREETING),
        TRUSTED: running.load(TRUSTED, "{}"),
        PEER: Load(f"http://127.0.0.1:{peer_port}/greet", {}, GREETING),
    }
    running.answer(loads[TRUSTED])
    answers = {running.answer(loads[SANDBOXED]), wait_answer(peer_port, loads[PEER], log=peer_log)}
    if len(answers) != 1:
        raise BenchError("the sandboxed action and the peer do not give the same answer")
    return loads


if __name__ == "__main__":
    sys.exit(program.run(measure, FULL, __doc__ or ""))
