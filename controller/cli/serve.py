"""`xcore serve`: settings in, the controller's exit code out."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from controller import app as controller_app
from controller.cli.exits import Exit, Stopped
from controller.settings import InvalidSettings, load

LAST_SECONDS = 2.0  # for threads to end, when all else has
app = typer.Typer(rich_markup_mode=None)
_log = logging.getLogger("xcore.controller")


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option(help="YAML file with settings; XCORE_* variables win over it.")
    ] = None,
) -> None:
    """Run the controller until it is told to stop."""
    try:
        settings = load(config)
    except InvalidSettings as error:
        raise Stopped(Exit.USAGE, error.reason, error.detail, error.problems) from None
    code = controller_app.serve(settings)
    if settings.integrations:
        timer = threading.Timer(LAST_SECONDS, _end, (code,))
        timer.daemon = True
        timer.start()
    raise typer.Exit(code)


def _end(code: int) -> None:
    """Python waits for the threads of pools, for ever; an integration may have left one that blocks."""
    _log.warning("an integration has left threads that do not end; the controller ends without them")
    sys.stdout.flush()
    os._exit(code)
