"""Running other programs, waiting for what they bring about, telling the person what goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


class ClusterError(Exception):
    """One sentence for the person who wanted a cluster."""


def say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, stdin: str | None = None, seconds: float = 120) -> str:
    """What the command printed; ClusterError with its complaint when it fails or does not end in time."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, check=False, timeout=seconds
        )
    except FileNotFoundError as error:
        raise ClusterError(f"missing: {words[0]} (tools/setup.sh cluster installs it)") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words)[:200]}: not finished after {seconds:.0f} s") from error
    if done.returncode:
        raise ClusterError(f"{' '.join(words)[:200]}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def succeeds(*command: str | Path, seconds: float = 30) -> bool:
    try:
        run(*command, seconds=seconds)
    except ClusterError:
        return False
    return True


def wait_for(condition: Callable[[], bool], what: str, *, seconds: float = 60, every: float = 0.25) -> None:
    """Return when the condition holds; ClusterError naming it when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise ClusterError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
