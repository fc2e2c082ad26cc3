"""Plugin folders on disk: what each one declares, and a snapshot of its code when it changed.

A folder counts when it holds `plugin.yaml`, or when it is of another format that was handed in. Nothing is refused here for good: what is wrong with a folder travels
in its `Declared`, so that it can be told in a status.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xcore.bundle import MANIFEST, Entry, Snapshots, revision, survey
from xcore.errors import InvalidBundle, InvalidManifest, InvalidSpec, Problem, StorageFull, XcoreError
from xcore.manifest import Manifest, parse
from xcore.workload import Origin

MAX_FOLDERS = 1_000
BUNDLE_IN_FOLDER = Problem(
    "spec.source.bundle", "must be absent in a folder, which holds its code; it is for the API"
)
MAX_MANIFEST = 64 * 1024
_log = logging.getLogger("xcore.sources")


@dataclass(frozen=True, slots=True)
class Declared:
    """What one folder says it wants: a manifest with its code, or the reason why not.

    `site` and `image` are added where they are wanted (see `sources`); `pending` says what that still waits for. Of a
    resource in a cluster: its `origin`, its `name`, its own count of generations, and since when it is there (of two that
    want one name the older has it), and whether its class demands proof of isolation before it gets requests.
    """

    folder: str
    manifest: Manifest | None = None
    digest: str = ""
    revision: str = ""
    code: Path | None = None
    error: XcoreError | None = None
    site: Path | None = None
    image: str = ""
    pending: str = ""
    origin: Origin | None = None
    name: str = ""  # known although the manifest cannot be read
    generation: int | None = None
    proof: bool = False
    since: str = ""


class Format(Protocol):
    """Folders that were written for another system. Files are read, nothing of a plugin is run.

    `claims`: whether a folder is one of them; `text` is that of its `plugin.yaml`, None where it has none. Never raises.
    `manifest`: what it wants, as a Plugin whose code is the whole folder. Raises InvalidSpec, InvalidBundle, OSError.
    """

    def claims(self, folder: Path, text: bytes | None) -> bool: ...
    def manifest(self, folder: Path) -> Manifest: ...


class Loader:
    """Reads all plugin folders. Call `scan` in a thread; it remembers what it saw, so an unchanged folder is cheap.

    `expected`: plugins came from the directory before this process. Else one that is not there yet is as good as empty.
    """

    def __init__(
        self,
        directory: Path,
        snapshots: Snapshots,
        *,
        expected: bool = False,
        older: Format | None = None,
    ) -> None:
        self.directory, self.snapshots = directory, snapshots
        self._expected, self._missed, self._older = expected, False, older
        self._seen: dict[str, tuple[bytes | None, list[Entry], Declared]] = {}

    def scan(self) -> list[Declared]:
        """Give every folder that has a manifest, sorted by name; raises InvalidSpec when the directory cannot be read.

        One that is gone is no order to remove the plugins that were in it: who wants that makes it again, empty.
        """
        try:
            found = sorted(folder for folder in self.directory.iterdir() if self._counts(folder))
        except FileNotFoundError as error:
            if self._expected or self._seen:
                raise InvalidSpec(
                    "the plugins directory is gone; what it held runs on till it is there again"
                ) from error
            if not self._missed:
                _log.warning(
                    "there is no plugins directory %s yet: it is read as soon as it is there", self.directory
                )
            self._missed = True
            return []
        except OSError as error:
            raise InvalidSpec(f"the plugins directory cannot be read: {error.strerror}") from error
        self._expected = False
        if len(found) > MAX_FOLDERS:
            raise InvalidSpec(f"{len(found)} plugin folders; at most {MAX_FOLDERS} are read")
        self._seen = {f.name: self._seen[f.name] for f in found if f.name in self._seen}
        return [self._declared(folder) for folder in found]

    def _counts(self, folder: Path) -> bool:
        if os.path.lexists(folder / MANIFEST):
            return True
        return self._older is not None and self._older.claims(folder, None)

    def _manifest(self, folder: Path, text: bytes | None) -> Manifest:
        """Give the manifest; one of another format is told anew each time, for it depends on more than one file."""
        before = self._seen.get(folder.name)
        known = before[2].manifest if before and before[0] == text else None
        if known is not None and known.spec.legacy is None:
            return known
        if self._older is not None and self._older.claims(folder, text):
            return self._older.manifest(folder)
        return _parse(text or b"")

    def _declared(self, folder: Path) -> Declared:
        try:
            text = _read(folder / MANIFEST) if os.path.lexists(folder / MANIFEST) else None
            before = self._seen.get(folder.name)
            manifest = self._manifest(folder, text)
            entries = survey(source) if (source := _source(folder, manifest)) else []
            if before is not None and before[:2] == (text, entries) and _is_kept(before[2]):
                return before[2]
        except (InvalidSpec, InvalidBundle) as error:
            return Declared(folder.name, error=error)
        except OSError as error:
            return Declared(folder.name, error=InvalidBundle(f"the folder cannot be read: {error.strerror}"))
        declared = self._load(folder, manifest)
        if declared.error is None:
            self._seen[folder.name] = (text, entries, declared)
        return declared

    def _load(self, folder: Path, manifest: Manifest) -> Declared:
        source = _source(folder, manifest)
        if source is None:
            return Declared(folder.name, manifest)
        try:
            digest, code = self.snapshots.take(source)
        except (InvalidBundle, StorageFull) as error:
            return Declared(folder.name, manifest, error=error)
        return Declared(folder.name, manifest, digest, revision(digest, manifest), code)


def _parse(text: bytes) -> Manifest:
    try:
        manifest = parse(text, name=MANIFEST)
    except InvalidManifest as error:
        raise InvalidSpec(error.detail, error.problems) from error
    if manifest.spec.source.bundle is not None:
        raise InvalidSpec(f"{MANIFEST} is not valid in a folder", [BUNDLE_IN_FOLDER])
    return manifest


def _source(folder: Path, manifest: Manifest) -> Path | None:
    """Give the folder that holds the code, none where an image does."""
    if manifest.spec.source.folder is None:
        return None
    source = folder
    for part in Path(manifest.spec.source.folder).parts:
        source /= part
        if source.is_symlink():
            raise InvalidBundle(f"{part} is a link; only files and folders are allowed")
    return source


def _is_kept(declared: Declared) -> bool:
    return declared.code is None or declared.code.is_dir()  # else it was collected: nobody used it


def _read(path: Path) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InvalidBundle(f"{path.name} is a link; only files and folders are allowed") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidBundle(f"{path.name} is not a file")
        return file.read(MAX_MANIFEST + 1)
