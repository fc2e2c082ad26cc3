"""`xcore pack`: turns `spec.dependencies` into a lock beside the code, and unpacks what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller.cli import output
from controller.cli.bake import bake, show_image
from controller.cli.locking import Folder, read_folder, renewed, stopped_by, tell, write
from controller.cli.output import Brief
from controller.settings import load
from controller.sites import open_sites
from sandbox_image.tag import packages
from xcore.errors import InvalidBundle, XcoreError
from xcore.packing.lock import LOCK, Lock, require
from xcore.packing.preparation import read_lock
from xcore.packing.target import here, sandbox
from xcore.packing.uv import Job

app = typer.Typer(rich_markup_mode=None)


@app.command()
def pack(  # noqa: PLR0913, PLR0917  one parameter for each option
    path: Annotated[Path, typer.Argument(metavar="DIR", help="Plugin folder.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only tell whether the lock fits the manifest.")
    ] = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Take the newest versions that fit.")] = False,
    image: Annotated[
        bool, typer.Option("--image", help="Put the plugin and what it needs into an image of its own.")
    ] = False,
    tag: Annotated[str, typer.Option("-t", "--tag", help="Name of the image [xcore/NAME:VERSION].")] = "",
    config: Annotated[Path | None, typer.Option(help="YAML file with the controller's settings.")] = None,
    form: Annotated[Brief, typer.Option("-o", "--output", help="How to print it.")] = "table",
) -> None:
    """Lock a plugin's dependencies and unpack them, ready to be mounted into a sandbox."""
    try:
        folder = read_folder(path)
        if check:
            _check(folder)
            return
        settings = load(config)
        packed = _packed(folder, upgrade=upgrade, state_dir=settings.state_dir)
        if image:
            # The first of them is the sandbox image's, where there are any.
            show_image(bake(settings, folder.manifest, folder.source, next(iter(packed[2]), None), tag), form)
        else:
            _show(*packed, form)
    except XcoreError as error:
        raise stopped_by(error) from None


def _check(folder: Folder) -> None:
    """Return when the lock fits, else raise what does not."""
    lock = read_lock(folder.source)
    if lock is not None:
        require(lock, folder.manifest, packages())
    elif folder.manifest.spec.dependencies:
        raise InvalidBundle(f"there is no {LOCK}: run `xcore pack DIR`")


def _packed(folder: Folder, *, upgrade: bool, state_dir: Path) -> tuple[Lock | None, bool, list[Path]]:
    """Renew the lock where it does not fit, unpack it for every sandbox there is; tells whether it was renewed."""
    if not folder.manifest.spec.dependencies:
        (folder.source / LOCK).unlink(missing_ok=True)
        return None, False, []
    job = Job(tell)
    lock, changed = renewed(folder, job, upgrade=upgrade)
    sites = open_sites(state_dir)
    made = [sites.take(lock, target, job) for target in dict.fromkeys((sandbox(), here()))]
    if changed:
        write(folder.source / LOCK, str(lock))
    return lock, changed, made


def _show(lock: Lock | None, changed: bool, sites: list[Path], form: Brief) -> None:
    pins = lock.pins if lock is not None else ()
    if form == "json":
        names = [{"name": pin.name, "version": pin.version} for pin in pins]
        output.data({"changed": changed, "packages": names, "sites": [site.name for site in sites]})
        return
    for pin in pins:
        output.line(pin.requirement.partition(" ;")[0])
    said = "written" if changed else "as it was"
    output.line(
        f"{LOCK}: {said}, {len(pins)} packages" if lock is not None else "no dependencies: no lock is needed"
    )
