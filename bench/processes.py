"""Children of a bench: each in its own session, its output in a file, ended by its own id whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.figures import BenchError
from bench.wrk import Load

START_SECONDS = 30.0
END_SECONDS = 40.0


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A temporary directory that other users may pass through: sandboxes and nginx's worker are others."""
    with tempfile.TemporaryDirectory(prefix="xcore-bench-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


@contextlib.contextmanager
def child(command: list[str], *, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run `command` for the time of the block; gives its id. SIGTERM at its end, SIGKILL when that does not help."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours: a child that hears it too is told to stop twice
            env={**_plain_environment(), **(environment or {})},
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _plain_environment() -> dict[str, str]:
    """No setting of whoever runs the bench may change what is measured."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("XCORE_")}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_answer(port: int, load: Load, *, log: Path, seconds: float = START_SECONDS) -> bytes:
    """Ask until the answer is 200; gives its body. Raises BenchError with the child's last words."""
    deadline = time.monotonic() + seconds
    why = "nothing listens"
    while time.monotonic() < deadline:
        try:
            status, body = ask(port, load)
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
            continue
        if status == 200:
            return body
        why = f"it answers {status}"
        time.sleep(0.1)
    raise BenchError(f"{log.stem} does not come up ({why}): {_last_line(log)}")


def ask(port: int, load: Load) -> tuple[int, bytes]:
    """One request, one answer: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    path = "/" + load.url.split("/", 3)[-1]
    headers = {**load.headers, **({} if load.body is None else {"Content-Type": "application/json"})}
    try:
        connection.request("GET" if load.body is None else "POST", path, load.body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
