"""`xcore new`: a plugin folder with a test that passes, from a template. Never writes into what is there."""

from __future__ import annotations

import importlib.resources
import re
import shutil
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

import typer

from controller.cli import output
from controller.cli.exits import Exit, Stopped
from controller.cli.locking import lock_anew, read_folder, tell
from xcore.errors import XcoreError
from xcore.fields import LABEL, SHAPES
from xcore.packing.lock import LOCK
from xcore.packing.uv import Job

app = typer.Typer(rich_markup_mode=None)
# What stands for the plugin's name in a template's manifest.
PLACE = "NAME"

Template = Literal["actions", "stream", "asgi"]


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the plugin is called.")],
    template: Annotated[Template, typer.Option(help="What kind of plugin it is.")] = "actions",
    directory: Annotated[Path, typer.Option("--dir", help="Where to make its folder.")] = Path(),
) -> None:
    """Make a plugin folder with a test that passes."""
    if not re.fullmatch(LABEL, name):
        raise Stopped(Exit.USAGE, "BadUsage", f"a plugin's name is {SHAPES[LABEL]}; got {name[:80]!r}")
    folder = directory / name
    source = importlib.resources.files("controller").joinpath("templates", template)
    try:
        folder.mkdir()
    except FileExistsError:
        raise Stopped(Exit.REFUSED, "AlreadyExists", f"{folder} is there; nothing was written") from None
    except OSError as error:
        raise Stopped(Exit.FAILED, "NotWritten", f"{folder} cannot be made: {error.strerror}") from None
    try:
        written = _fill(folder, source, name)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Stopped(Exit.FAILED, "NotWritten", f"{folder} cannot be written: {error.strerror}") from None
    for path in [*written, *_locked(folder)]:
        output.line(path)
    output.note(f"next: xcore check {folder} && xcore test {folder}")


def _locked(folder: Path) -> list[Path]:
    """Lock its dependencies where it has any. An index that does not answer is told, and no reason to fail."""
    try:
        plugin = read_folder(folder)
        return [plugin.source / LOCK] if lock_anew(plugin, Job(tell)) else []
    except XcoreError as error:
        output.note(f"{error.reason}: {error.detail}; before it can run: xcore pack {folder}")
        return []


def _fill(folder: Path, source: Traversable, name: str) -> list[Path]:
    written = []
    for file in sorted(source.iterdir(), key=lambda file: file.name):
        if not file.is_file():
            continue  # what Python or a tool left beside it
        text = file.read_text("utf-8")
        target = folder / file.name
        target.write_text(text if target.suffix == ".py" else text.replace(PLACE, name), "utf-8")
        written.append(target)
    return written
