"""`xcore test`: the plugin's own tests, by pytest, against the plugin served in a sandbox (fixture `plugin`)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from controller.cli import output
from controller.cli.exits import Exit, Stopped
from xcore.bundle import MANIFEST

app = typer.Typer(rich_markup_mode=None)

# How pytest ends.
_USAGE, _NOTHING = 4, 5


@app.command("test")
def run_tests(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="Plugin folder.")],
    rest: Annotated[list[str] | None, typer.Argument(metavar="[-- PYTEST…]", help="For pytest.")] = None,
    runtime: Annotated[
        Literal["auto", "docker", "process"],
        typer.Option(help="Where it is served; auto: docker where an engine answers, else process."),
    ] = "auto",
) -> None:
    """Run a plugin's own tests against it, served in a sandbox."""
    if not (path / MANIFEST).is_file():
        raise Stopped(Exit.NOT_FOUND, "NotFound", f"there is no {MANIFEST} in {path}")
    if importlib.util.find_spec("pytest") is None:
        advice = f"install it beside xcore: {sys.executable} -m pip install pytest"
        raise Stopped(Exit.FAILED, "NotInstalled", f"pytest is not there; {advice}")
    # -p: also where somebody switched off that pytest finds plugins by itself.
    command = [sys.executable, "-m", "pytest", "-p", "xcore", f"--xcore-runtime={runtime}", *(rest or ())]
    with subprocess.Popen(command, cwd=path, env=_environment()) as running:  # noqa: S603  no shell
        code = _wait(running)
    if code == _NOTHING:
        raise Stopped(
            Exit.FAILED, "NoTests", f"there is no test in {path}: files test_*.py, functions test_*"
        )
    raise typer.Exit(Exit.DONE if code == 0 else Exit.USAGE if code == _USAGE else Exit.FAILED)


def _environment() -> dict[str, str]:
    """Ours, without what pytest-asyncio says to everybody who has not configured it: a newcomer's first line otherwise."""
    quiet = 'ignore:The configuration option "asyncio_default_fixture_loop_scope" is unset'
    told = os.environ.get("PYTHONWARNINGS")
    return {**os.environ, "PYTHONWARNINGS": f"{told},{quiet}" if told else quiet}


def _wait(running: subprocess.Popen[bytes]) -> int:
    """Ctrl-C reaches pytest as well, which ends what it started: wait for that."""
    while True:
        try:
            return running.wait()
        except KeyboardInterrupt:
            output.note("ending the tests")
