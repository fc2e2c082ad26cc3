"""`xcore migrate`: writes today's manifest for a folder of the old system, and leaves its code as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.exits import Exit, Stopped
from controller.cli.locking import write
from controller.cli.older import FOLDERS, is_old, show, text_in
from controller.cli.output import Brief
from integrations.legacy.draft import Draft
from xcore.bundle import MANIFEST
from xcore.errors import Invalid

KEPT = "plugin.v0.yaml"

app = typer.Typer(rich_markup_mode=None)


@app.command()
def migrate(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an old plugin.")],
    form: Annotated[Brief, typer.Option("-o", "--output", help="How to print it.")] = "table",
) -> None:
    """Write today's manifest for a plugin of the old system; its code stays as it is."""
    if not is_old(path):
        if text_in(path) is None:
            raise Stopped(Exit.NOT_FOUND, "NotFound", f"there is no plugin of the old system in {path}")
        output.note(f"{path / MANIFEST} is of today already: nothing was written")
        return
    draft = _draft(path)
    try:
        kept = _write(path, draft)
    except OSError as error:
        raise Stopped(Exit.FAILED, "NotWritten", f"{path} cannot be written: {error.strerror}") from None
    written: dict[str, Any] = {"written": str(path / MANIFEST), "kept": str(path / KEPT) if kept else None}
    if form == "json":
        fields = [{"old": one.field, "becomes": one.becomes, "note": one.note} for one in draft.said]
        output.data({**written, "fields": fields})
        return
    show(draft.said)
    output.line(f"{path / MANIFEST}: written")
    if kept:
        output.line(f"{path / KEPT}: the old one, as it was")
    if "dependencies" in draft.spec:
        output.note(f"next: xcore pack {path}, then xcore check {path}")


def _draft(path: Path) -> Draft:
    try:
        draft = FOLDERS.draft(path)
        draft.manifest()
    except Invalid as error:
        raise Stopped(Exit.REFUSED, error.reason, f"{path}: {error.detail}", error.problems) from None
    except OSError as error:
        raise Stopped(Exit.FAILED, "NotRead", f"{path} cannot be read: {error.strerror}") from None
    return draft


def _write(path: Path, draft: Draft) -> bool:
    """Keep an old `plugin.yaml` under another name, then put the new one in its place; tells whether there was one."""
    there = (path / MANIFEST).exists()
    if there:
        try:
            os.link(path / MANIFEST, path / KEPT)
        except FileExistsError:
            raise Stopped(
                Exit.REFUSED, "AlreadyExists", f"{path / KEPT} is there; nothing was written"
            ) from None
    write(path / MANIFEST, draft.text())
    return there
