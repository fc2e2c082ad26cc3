"""Load by wrk (one thread): run it, read what it prints.

An answer that is not 2xx or 3xx, or a connection that broke, voids the run: what is fast at failing is not fast.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.figures import BenchError, Series

WARM_UP_SECONDS = 1.0
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_POST = Path(__file__).with_name("post.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask: GET, or POST of `body` as JSON. Only ever an address of this machine."""

    url: str
    headers: Mapping[str, str]
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One run; times in seconds. `failed`: answers that were errors, and broken connections."""

    rate: float
    p50: float
    p99: float
    requests: int
    failed: int


def parse(output: str) -> Result:
    """Read the text of `wrk --latency`; raises BenchError when it is something else."""
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", output, re.MULTILINE)
    requests = re.search(r"^\s*(\d+) requests in ", output, re.MULTILINE)
    if rate is None or requests is None:
        raise BenchError("wrk printed something that is not its summary")
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    failed = sum(map(int, broken.groups())) if broken else 0
    return Result(
        rate=float(rate[1]),
        p50=_percentile(output, 50),
        p99=_percentile(output, 99),
        requests=int(requests[1]),
        failed=failed + (int(refused[1]) if refused else 0),
    )


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    if found is None:
        raise BenchError("wrk printed no latencies")
    return float(found[1]) * _UNITS[found[2]]


def run(load: Load, *, connections: int, seconds: float) -> Result:
    """Load `connections` at a time; raises BenchError when anything failed."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--latency"]
    command += [part for name, value in load.headers.items() for part in ("-H", f"{name}: {value}")]
    if load.body is not None:
        command += ["-s", str(_POST)]
    command += [load.url] + ([] if load.body is None else ["--", load.body])
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise BenchError("wrk does not end") from None
    if done.returncode:
        raise BenchError(f"wrk fails: {done.stderr.strip() or done.stdout.strip()}")
    result = parse(done.stdout)
    if result.failed or not result.requests:
        raise BenchError(f"{result.failed} of {result.requests} requests failed: {_path(load.url)}")
    return result


def series(name: str, results: list[Result]) -> Series:
    return Series(name, [r.rate for r in results], [r.p50 for r in results], [r.p99 for r in results])


def require(*programs: str) -> None:
    """Raise BenchError unless all of them are installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise BenchError(
            f"{' and '.join(missing)} missing: `tools/setup.sh tools` installs what is measured with"
        )


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[-1]
