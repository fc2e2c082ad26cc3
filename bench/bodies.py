"""One GiB up and one GiB down through a whole controller: by how much its memory grows meanwhile, and how fast it goes.

The plugin is a bare ASGI application in a sandbox that counts what comes and sends what is asked for. Growth is the highest
resident memory (VmHWM of proc(5), set back before each transfer) above what it was. MB are 10^6 bytes.
"""

from __future__ import annotations

import contextlib
import http.client
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench import program
from bench.figures import BenchError, Effort, Figure, Series, Target, take_turns
from bench.processes import workspace
from bench.running import Controller, controller, write_plugin
from bench.sandboxes import require_engine

FULL = Effort(rounds=3)
SIZE = 2**30
PIECE = 256 * 1024
TARGET = Target("ours", "≤", 16 * 2**20 / 1e6)
CODE = textwrap.dedent("""
    PIECE = bytes(64 * 1024)


    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"].endswith("/down"):
            for _ in range(int(scope["query_string"]) // len(PIECE)):
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await send({"type": "http.response.body", "body": b"" if scope["path"].endswith("/down") else b"%d" % size})
""")
MANIFEST = {
    "apiVersion": "xcore.dev/v1alpha1",
    "kind": "Plugin",
    "metadata": {"name": "bulk"},
    "spec": {"entrypoint": "main:app", "actions": [{"name": "up", "maxBodyBytes": SIZE}]},
}


def measure(effort: Effort) -> Sequence[Figure]:
    require_engine()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        write_plugin("bulk", MANIFEST, CODE, directory)
        running = stack.enter_context(controller(directory))
        running.answer(running.load("bulk/up", "{}"))
        program.progress("1 GiB up and 1 GiB down through a controller")
        sides = {"up": partial(_grown, running, _up), "down": partial(_grown, running, _down)}
        taken = take_turns(sides, effort.rounds)
    return [_figure(way, taken[way]) for way in sides]


def _figure(way: str, taken: Sequence[tuple[float, float, float]]) -> Figure:
    growths, sizes, seconds = zip(*taken, strict=True)
    rate = SIZE / 1e6 / sorted(seconds)[len(seconds) // 2]
    what = f"1 GiB {way}: growth of the controller"
    ours, peer = Series("growth", growths), Series("its resident memory before", sizes)
    return Figure(what, "MB", ours, peer, TARGET, f"{rate:.0f} MB/s")


def _grown(running: Controller, transfer: Callable[[Controller], int]) -> tuple[float, float, float]:
    """Growth and size before in MB, and the seconds it took."""
    process = Path(f"/proc/{running.pid}")
    (process / "clear_refs").write_text("5")
    before = _status(process, "VmRSS")
    began = time.perf_counter()
    moved = transfer(running)
    seconds = time.perf_counter() - began
    if moved != SIZE:
        raise BenchError(f"{moved} bytes went through instead of {SIZE}")
    return max(0.0, _status(process, "VmHWM") - before), before, seconds


def _status(process: Path, field: str) -> float:
    lines = (process / "status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:"))


def _up(running: Controller) -> int:
    return int(_ask(running, "POST", "up", _pieces()).read())


def _down(running: Controller) -> int:
    answer, size = _ask(running, "GET", f"down?{SIZE}", None), 0
    while piece := answer.read(PIECE):
        size += len(piece)
    return size


def _ask(
    running: Controller, method: str, path: str, body: Iterator[bytes] | None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=120)
    headers = {"Authorization": f"Bearer {running.key}", **({"Content-Length": str(SIZE)} if body else {})}
    connection.request(method, f"/app/bulk/{path}", body, headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise BenchError(f"bulk answered {answer.status} in the middle of a transfer")
    return answer


def _pieces() -> Iterator[bytes]:
    piece = bytes(PIECE)
    for _ in range(SIZE // PIECE):
        yield piece


if __name__ == "__main__":
    sys.exit(program.run(measure, FULL, __doc__ or ""))
