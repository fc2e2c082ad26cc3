"""`xcore serve`: settings in, the controller's exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller import app as controller_app
from controller.cli.exits import Exit, Stopped
from controller.settings import InvalidSettings, load

app = typer.Typer(rich_markup_mode=None)


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
    raise typer.Exit(controller_app.serve(settings))
