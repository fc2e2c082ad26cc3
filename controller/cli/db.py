"""`xcore db`: the database as a whole. For whoever runs the controller, on its machine and with its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from controller.cli import output
from controller.cli.exits import Exit, Stopped
from controller.cli.output import Brief
from controller.settings import InvalidSettings, load
from integrations.database import file as files
from integrations.database.address import InvalidAddress, address, file_of
from integrations.database.upgrade import check, upgrade
from xcore.errors import DatabaseUnavailable, StorageFull

app = typer.Typer(rich_markup_mode=None)


@app.command()
def db(
    verb: Annotated[
        Literal["upgrade", "check", "backup", "restore"],
        typer.Argument(
            help="upgrade its tables; check it; backup FILE; or restore FILE, with no controller running."
        ),
    ],
    path: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The backup: SQLite only.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with the controller's settings.")] = None,
    form: Annotated[Brief, typer.Option("-o", "--output", help="How to print it.")] = "table",
) -> None:
    """Upgrade or check the database, back it up, or go back to a backup."""
    try:
        settings = load(config)
        url = address(settings.database_address, settings.state_dir)
    except (InvalidSettings, InvalidAddress) as error:
        raise Stopped(Exit.USAGE, error.reason, error.detail, error.problems) from None
    if (path is not None) != (verb in {"backup", "restore"}):
        rule = "needs the path of a FILE" if path is None else "takes no FILE"
        raise Stopped(Exit.USAGE, "BadUsage", f"xcore db {verb} {rule}")
    try:
        with output.progress(f"{verb}: the database"):
            told, sentence = _VERBS[verb](url, path)
    except DatabaseUnavailable as error:
        raise Stopped(Exit.FAILED, error.reason, error.detail) from None
    except StorageFull as error:
        raise Stopped(Exit.FAILED, error.reason, error.detail) from None
    if form == "json":
        output.data(told)
    else:
        output.line(sentence)
    if told.get("problems"):
        raise typer.Exit(Exit.FAILED)


Told = tuple[dict[str, Any], str]


def _upgrade(url: Any, _path: Path | None) -> Told:
    before, after = asyncio.run(upgrade(url))
    sentence = f"schema {after}, as before" if before == after else f"schema {before or 'none'} → {after}"
    return {"before": before, "after": after}, sentence


def _check(url: Any, _path: Path | None) -> Told:
    version, problems = asyncio.run(check(url))
    sentence = "\n".join(problems) if problems else f"schema {version}: nothing is wrong"
    return {"schema": version, "problems": problems}, sentence


def _backup(url: Any, path: Path | None) -> Told:
    file = _sqlite(url, "pg_dump --format=custom --file=FILE")
    assert path is not None
    try:
        files.back_up(file, path)
    except FileExistsError:
        raise Stopped(
            Exit.REFUSED, "AlreadyExists", f"{path} is there already; nothing was written"
        ) from None
    return {"written": str(path)}, f"{path}: written"


def _restore(url: Any, path: Path | None) -> Told:
    file = _sqlite(url, "pg_restore --clean --if-exists --dbname=URL FILE")
    assert path is not None
    kept = files.restore(path, file)
    return {"restored": str(path), "kept": str(kept)}, f"restored; what was there is {kept}"


def _sqlite(url: Any, instead: str) -> Path:
    file = file_of(url)
    if file is None:
        raise Stopped(
            Exit.REFUSED,
            "NotSupported",
            f"a PostgreSQL is backed up and restored by its own tools: {instead}",
        )
    return file


_VERBS: dict[str, Callable[[Any, Path | None], Told]] = {
    "upgrade": _upgrade,
    "check": _check,
    "backup": _backup,
    "restore": _restore,
}
