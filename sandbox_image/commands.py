"""Running the commands that make an image, and telling the person who waits for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

STEP_SECONDS = 600


class BuildError(Exception):
    """One sentence for the person who asked for the image."""


def run(*command: str, failure: str, environment: Mapping[str, str] | None = None) -> str:
    """Run to the end and return stdout; a failure is `failure` and the command's last words."""
    try:
        done = subprocess.run(  # noqa: S603  no shell
            [found(command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=STEP_SECONDS,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{failure}: not finished after {STEP_SECONDS} s") from error
    if done.returncode:
        sys.stderr.write(_tail(done.stdout))
        raise BuildError(f"{failure}: {last_line(done.stderr)}")
    return done.stdout


def say(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"image: {text}\n")
    sys.stderr.flush()


def found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise BuildError(f"{program} is not installed")
    return path


def _tail(text: str) -> str:
    return "".join(line + "\n" for line in text.splitlines()[-20:])


def last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"
