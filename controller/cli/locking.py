"""The lock beside a plugin's code: read, renewed where it does not fit, written. For `pack`, `new` and `dev`."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from controller.cli import output
from controller.cli.exits import Exit, Stopped
from controller.cli.older import FOLDERS, is_old
from sandbox_image.tag import packages
from xcore import yamlsafe
from xcore.bundle import MANIFEST
from xcore.errors import IndexUnavailable, Invalid, InvalidBundle, XcoreError
from xcore.manifest import Manifest, parse
from xcore.packing.lock import LOCK, Lock, require
from xcore.packing.preparation import read_lock
from xcore.packing.resolve import resolve
from xcore.packing.uv import Job


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


def read_folder(path: Path) -> Folder:
    """Give a folder of today or of the old system; raises Stopped, Invalid."""
    if is_old(path):
        return Folder(FOLDERS.manifest(path), path)
    try:
        with (path / MANIFEST).open("rb") as file:
            manifest = parse(file.read(yamlsafe.MAX_BYTES + 1), name=MANIFEST)
    except OSError as error:
        raise Stopped(Exit.NOT_FOUND, "NotFound", f"there is no {MANIFEST} in {path}") from error
    return Folder(manifest, path / (manifest.spec.source.folder or "."))


def tell(progress: str) -> None:
    output.note(f"pack: {progress}")


def lock_anew(folder: Folder, job: Job) -> bool:
    """Write the lock where dependencies want one and it does not fit, unpacking nothing; tells whether it did."""
    if not folder.manifest.spec.dependencies:
        return False
    lock, changed = renewed(folder, job)
    if changed:
        write(folder.source / LOCK, str(lock))
    return changed


def renewed(folder: Folder, job: Job, *, upgrade: bool = False) -> tuple[Lock, bool]:
    """Give the lock that fits, and whether it is another than the one that is there; nothing is written."""
    before = folder.lock()
    if before is not None and not upgrade and _fits(before, folder.manifest):
        return before, False
    lock = resolve(folder.manifest, None if upgrade else before, packages(), job)
    return lock, str(lock) != str(before)


def stopped_by(error: XcoreError) -> Stopped:
    problems = error.problems if isinstance(error, Invalid) else ()
    return Stopped(_exit(error), error.reason, error.detail, problems)


def _fits(lock: Lock, manifest: Manifest) -> bool:
    try:
        require(lock, manifest, packages())
    except InvalidBundle:
        return False
    return True


def write(path: Path, text: str) -> None:
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


def _exit(error: XcoreError) -> Exit:
    if isinstance(error, IndexUnavailable):
        return Exit.UNREACHABLE
    return Exit.FAILED
