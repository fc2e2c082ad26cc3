"""`/app/` through the data plane, beside nginx as proxy in front of the very same upstream.

Both ask one nginx that answers 100 bytes on a unix socket; both run in one process, keep their connections and write
no access log. Ours checks a key on every request and does all a request to a plugin gets; nginx passes it on.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import nginx, plane, program, wrk
from bench.figures import BenchError, Effort, Figure, Target, take_turns
from bench.processes import ask, child, free_port, wait_answer, workspace
from bench.wrk import Load
from xcore.endpoint import SOCKET_NAME

FULL = Effort(rounds=7, seconds=5.0)
CONNECTIONS = (1, 32, 256)
TARGETS = {32: Target("ratio", "≥", 0.4, aim=0.65)}
OURS, PEER = "data plane", "nginx"


def measure(effort: Effort) -> Sequence[Figure]:
    wrk.require("nginx", "wrk")
    with contextlib.ExitStack() as stack:
        loads = _start(stack, stack.enter_context(workspace()))
        return [_compare(loads, connections, effort) for connections in CONNECTIONS]


def _start(stack: contextlib.ExitStack, directory: Path) -> dict[str, Load]:
    """Start upstream and both fronts; they answer when this returns."""
    key, socket = secrets.token_hex(32), directory / "upstream" / SOCKET_NAME
    ports = {OURS: free_port(), PEER: free_port()}
    digest = hashlib.sha256(key.encode()).hexdigest()
    commands = {
        "upstream": nginx.upstream(socket.parent, socket),
        OURS: [sys.executable, "-m", "bench.plane", str(ports[OURS]), str(socket.parent), digest],
        PEER: nginx.proxy(directory / "front", socket, ports[PEER]),
    }
    loads = {}
    for name, command in commands.items():
        log = directory / f"{name}.log"
        stack.enter_context(child(command, log=log))
        if name in ports:
            url = f"http://127.0.0.1:{ports[name]}/app/{plane.PLUGIN}/static"
            loads[name] = Load(url, {"Authorization": f"Bearer {key}"})
            if wait_answer(ports[name], loads[name], log=log) != nginx.ANSWER.encode():
                raise BenchError(f"{name} does not give the upstream's answer")
    if ask(ports[OURS], Load(loads[OURS].url, {}))[0] != 401:
        raise BenchError("the data plane answers without a key")
    return loads


def _compare(loads: dict[str, Load], connections: int, effort: Effort) -> Figure:
    program.progress(f"data plane and nginx, {connections} connections")
    for load in loads.values():
        wrk.run(load, connections=connections, seconds=wrk.WARM_UP_SECONDS)
    sides = {
        name: partial(wrk.run, load, connections=connections, seconds=effort.seconds)
        for name, load in loads.items()
    }
    taken = take_turns(sides, effort.rounds)
    return Figure(
        f"/app/ to a static upstream, c = {connections}",
        "req/s",
        wrk.series(OURS, taken[OURS]),
        wrk.series(PEER, taken[PEER]),
        TARGETS.get(connections),
    )


if __name__ == "__main__":
    sys.exit(program.run(measure, FULL, __doc__ or ""))
