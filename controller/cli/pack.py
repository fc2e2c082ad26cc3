"""`xcore pack`: turns `spec.dependencies` into a lock beside the code, and unpacks what it names."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from controller.cli import output
from controller.cli.bake import bake, show_image
from controller.cli.exits import Exit, Stopped
from controller.cli.output import Brief
from controller.settings import load
from controller.sites import open_sites
from sandbox_image.tag import packages
from xcore import yamlsafe
from xcore.bundle import MANIFEST
from xcore.errors import IndexUnavailable, Invalid, InvalidBundle, XcoreError
from xcore.manifest import Manifest, parse
from xcore.packing.lock import LOCK, Lock, require
from xcore.packing.preparation import read_lock
from xcore.packing.resolve import resolve
from xcore.packing.target import here, sandbox
from xcore.packing.uv import Job

app = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class Folder:
    """A plugin's folder: its manifest, and where its lock is."""

    manifest: Manifest
    source: Path

    def lock(self) -> Lock | None:
        """The lock that is there, if it can still be read."""
        try:
            return read_lock(self.source)
        except InvalidBundle as error:
            output.note(f"{error.detail.partition(':')[0]}: it is made anew")
            return None


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


def read_folder(path: Path) -> Folder:
    try:
        with (path / MANIFEST).open("rb") as file:
            manifest = parse(file.read(yamlsafe.MAX_BYTES + 1), name=MANIFEST)
    except OSError as error:
        raise Stopped(Exit.NOT_FOUND, "NotFound", f"there is no {MANIFEST} in {path}") from error
    return Folder(manifest, path / (manifest.spec.source.folder or "."))


def _check(folder: Folder) -> None:
    """Return when the lock fits, else raise what does not."""
    lock = read_lock(folder.source)
    if lock is not None:
        require(lock, folder.manifest, packages())
    elif folder.manifest.spec.dependencies:
        raise InvalidBundle(f"there is no {LOCK}: run `xcore pack DIR`")


def tell(progress: str) -> None:
    output.note(f"pack: {progress}")


def lock_anew(folder: Folder, job: Job) -> bool:
    """Write the lock where dependencies want one and it does not fit, unpacking nothing; tells whether it did."""
    if not folder.manifest.spec.dependencies:
        return False
    before = folder.lock()
    if before is not None and _fits(before, folder.manifest):
        return False
    _write(folder.source / LOCK, str(resolve(folder.manifest, before, packages(), job)))
    return True


def stopped_by(error: XcoreError) -> Stopped:
    problems = error.problems if isinstance(error, Invalid) else ()
    return Stopped(_exit(error), error.reason, error.detail, problems)


def _packed(folder: Folder, *, upgrade: bool, state_dir: Path) -> tuple[Lock | None, bool, list[Path]]:
    """Renew the lock where it does not fit, unpack it for every sandbox there is; tells whether it was renewed."""
    if not folder.manifest.spec.dependencies:
        (folder.source / LOCK).unlink(missing_ok=True)
        return None, False, []
    job = Job(tell)
    before = folder.lock()
    lock = before if before is not None and not upgrade and _fits(before, folder.manifest) else None
    if lock is None:
        lock = resolve(folder.manifest, None if upgrade else before, packages(), job)
    sites = open_sites(state_dir)
    made = [sites.take(lock, target, job) for target in dict.fromkeys((sandbox(), here()))]
    changed = lock is not before and str(lock) != str(before)
    if changed:
        _write(folder.source / LOCK, str(lock))
    return lock, changed, made


def _fits(lock: Lock, manifest: Manifest) -> bool:
    try:
        require(lock, manifest, packages())
    except InvalidBundle:
        return False
    return True


def _write(path: Path, text: str) -> None:
    """Whole or not at all: the controller may be reading it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".plugin-lock-", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


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


def _exit(error: XcoreError) -> Exit:
    if isinstance(error, IndexUnavailable):
        return Exit.UNREACHABLE
    return Exit.FAILED
