"""What a plugin's callers feel of another plugin's trouble: its p99 while a neighbour hangs, and while it eats memory.

One controller, two sandboxes. `hello/greet` is called 100 times a second. In every second turn the neighbour runs
endless loops (sync and async) until its probes end it; or it is killed for its memory and started anew, again and
again, which is mostly the engine's own work on the same cores. The peer is the same plugin in the quiet turns.
"""

from __future__ import annotations

import contextlib
import http.client
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from bench import program
from bench.figures import BenchError, Effort, Figure, Series, Target, take_turns
from bench.processes import ask, workspace
from bench.running import controller, copy_example, write_plugin
from bench.sandboxes import require_engine
from bench.wrk import Load

FULL = Effort(rounds=5, seconds=8.0)
RATE = 100
HANGING, EATING, QUIET = "beside a hanging neighbour", "beside one that eats memory", "beside a quiet one"
FAULTS = {HANGING: ("spin", "block"), EATING: ("eat",)}
TROUBLE = textwrap.dedent("""
    from xcore.plugin import Plugin, action


    class Trouble(Plugin):
        @action
        def spin(self) -> None:
            while True:
                pass

        @action
        def eat(self) -> None:
            kept = []
            while True:
                kept.append(bytearray(8 << 20))

        @action
        async def block(self) -> None:
            while True:
                pass

        @action
        async def well(self) -> str:
            return "well"
""")
MANIFEST = {
    "apiVersion": "xcore.dev/v1alpha1",
    "kind": "Plugin",
    "metadata": {"name": "trouble"},
    "spec": {
        "entrypoint": "main:Trouble",
        "actions": [{"name": name, "timeouts": {"firstByteSeconds": 1}} for name in ("spin", "block")],
        "restart": {"maxRestarts": 1000},
        "probes": {"liveness": {"periodSeconds": 1, "failureThreshold": 2}},
    },
}


def measure(effort: Effort) -> Sequence[Figure]:
    require_engine()
    with contextlib.ExitStack() as stack:
        hello, loads = _start(stack, stack.enter_context(workspace()))
        program.progress("one plugin's p99 while its neighbour hangs, and while it eats memory")
        p99(hello, 2.0)
        return [_figure(name, hello, [loads[fault] for fault in FAULTS[name]], effort) for name in FAULTS]


def _figure(name: str, hello: Load, faults: Sequence[Load], effort: Effort) -> Figure:
    sides = {
        name: partial(_beside, faults, hello, effort.seconds),
        QUIET: partial(p99, hello, effort.seconds),
    }
    taken = take_turns(sides, effort.rounds)
    target = Target("ratio", "≤", 1.5) if name == HANGING else None
    what = f"p99 of hello/greet at {RATE} req/s {name}"
    return Figure(what, "s", Series(name, taken[name]), Series(QUIET, taken[QUIET]), target)


def _beside(trouble: Sequence[Load], hello: Load, seconds: float) -> float:
    with _troubling(trouble):
        return p99(hello, seconds)


@contextlib.contextmanager
def _troubling(loads: Sequence[Load]) -> Iterator[None]:
    """Call each in turn until the block ends; whatever they answer is their own affair."""
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            for load in loads:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    ask(int(load.url.split(":")[2].split("/")[0]), load)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def p99(load: Load, seconds: float) -> float:
    """Call at a steady rate over one connection; the 99th percentile of the answers' times, in seconds."""
    _, _, address, path = load.url.split("/", 3)
    connection = http.client.HTTPConnection(address, timeout=10)
    times: list[float] = []
    began = time.perf_counter()
    for number in range(int(seconds * RATE)):
        time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        asked = time.perf_counter()
        connection.request("POST", f"/{path}", load.body, load.headers)
        response = connection.getresponse()
        response.read()
        times.append(time.perf_counter() - asked)
        if response.status != 200:
            raise BenchError(f"hello/greet answered {response.status} beside its neighbour")
    connection.close()
    return sorted(times)[int(len(times) * 0.99)]


def _start(stack: contextlib.ExitStack, directory: Path) -> tuple[Load, dict[str, Load]]:
    copy_example("hello", directory)
    write_plugin("trouble", MANIFEST, TROUBLE, directory)
    running = stack.enter_context(controller(directory))
    hello = running.load("hello/greet", '{"name": "Ada"}')
    running.answer(hello)
    running.answer(running.load("trouble/well", "{}"))
    names = [name for faults in FAULTS.values() for name in faults]
    return hello, {name: running.load(f"trouble/{name}", "{}") for name in names}


if __name__ == "__main__":
    sys.exit(program.run(measure, FULL, __doc__ or ""))
