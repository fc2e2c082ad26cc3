"""A typed action through a whole controller, sandboxed and trusted, beside a bare FastAPI route that greets.

The controller is `xcore serve` with the Docker runtime, its state in a temporary directory; the key is checked on
every request. The peer is the ordinary way: one process, no isolation, no key.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import program, wrk
from bench.figures import BenchError, Effort, Figure, take_turns
from bench.processes import child, free_port, wait_answer, workspace
from bench.sandboxes import EXAMPLES, remove_owned, require_engine
from bench.wrk import Load
from xcore.store import FileStore

FULL = Effort(rounds=7, seconds=5.0)
CONNECTIONS = 32
READY_SECONDS = 90.0
PLUGINS = ("hello", "clock")
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
    port, peer_port, key = free_port(), free_port(), secrets.token_hex(32)
    _copy_plugins(directory / "plugins")
    stack.callback(_remove_leftovers, directory / "state")
    log, peer_log = directory / "controller.log", directory / "FastAPI.log"
    command = [sys.executable, "-c", "from controller.cli import main; main()", "serve"]
    stack.enter_context(child(command, log=log, environment=_settings(directory, port, key)))
    stack.enter_context(child([sys.executable, "-m", "bench.ordinary", str(peer_port)], log=peer_log))
    bearer = {"Authorization": f"Bearer {key}"}
    loads = {
        SANDBOXED: Load(f"http://127.0.0.1:{port}/app/{SANDBOXED}", bearer, GREETING),
        TRUSTED: Load(f"http://127.0.0.1:{port}/app/{TRUSTED}", bearer, "{}"),
        PEER: Load(f"http://127.0.0.1:{peer_port}/greet", {}, GREETING),
    }
    wait_answer(port, loads[TRUSTED], log=log, seconds=READY_SECONDS)
    answers = {
        wait_answer(port, loads[SANDBOXED], log=log, seconds=READY_SECONDS),
        wait_answer(peer_port, loads[PEER], log=peer_log),
    }
    if len(answers) != 1:
        raise BenchError("the sandboxed action and the peer do not give the same answer")
    return loads


def _settings(directory: Path, port: int, key: str) -> dict[str, str]:
    return {
        "XCORE_PORT": str(port),
        "XCORE_PLUGINS_DIR": str(directory / "plugins"),
        "XCORE_STATE_DIR": str(directory / "state"),
        "XCORE_ADMIN_KEY": key,
        "XCORE_TRUSTED": "clock",
        "XCORE_RUNTIME": "docker",
        "XCORE_ON_EXIT": "stop",
    }


def _copy_plugins(target: Path) -> None:
    for name in PLUGINS:
        if not (EXAMPLES / name).is_dir():
            raise BenchError(f"the example {name} is missing")
        shutil.copytree(EXAMPLES / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))


def _remove_leftovers(state: Path) -> None:
    """A controller that had to be killed leaves its sandboxes: they go by its owner label."""
    owner = FileStore(state / "store").read("index", "owner")
    if owner is not None:
        remove_owned(require_engine(), str(owner["id"]))


if __name__ == "__main__":
    sys.exit(program.run(measure, FULL, __doc__ or ""))
