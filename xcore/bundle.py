"""Snapshots: a plugin folder copied once, addressed by its content, and never changed again.

An instance always runs a snapshot, so a restart runs the revision that was accepted and never a half-saved edit.
Refused: links, devices, more than 1,000 files or 64 MiB, names that are not plain. Left out: caches and version
control.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xcore.errors import InvalidBundle, Problem, StorageFull
from xcore.manifest import Manifest
from xcore.store import sync_directory

MAX_FILES = 1_000
MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 16
LEFT_OUT = frozenset(
    {"__pycache__", ".git", ".hg", ".venv", "node_modules", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
)
MANIFEST = "plugin.yaml"  # judged by itself: most of its fields take effect without a new instance
COLLECT_AFTER = 60.0
_ATTEMPTS = 5
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to copy: its path in the folder, and what identified it when it was listed."""

    path: str
    mtime_ns: int
    size: int
    inode: int
    executable: bool


class Snapshots:
    """Content-addressed copies under one directory; each is `<directory>/<sha256>`, world-readable, no links."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: set[str] = set()

    def take(self, folder: Path) -> tuple[str, Path]:
        """Copy the folder; returns (digest, path). Raises InvalidBundle, StorageFull.

        A folder that changes while it is copied is copied again: what is kept existed at one moment.
        """
        for _ in range(_ATTEMPTS):
            staging = self._stage()
            try:
                before = survey(folder)
                digest = _copy(folder, before, staging)
                if survey(folder) == before:
                    return digest, self._keep(staging, digest)
            except (FileNotFoundError, _Changed):
                continue  # another file than was listed: look again
            except OSError as error:
                raise _storage(error, folder) from error
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        raise InvalidBundle("the folder keeps changing while it is read; save it and let it rest")

    def _stage(self) -> Path:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
            self.directory.chmod(0o755)
            return Path(tempfile.mkdtemp(prefix=".staging-", dir=self.directory))
        except OSError as error:
            raise StorageFull(f"the state directory cannot be written: {error.strerror}") from error

    def path(self, digest: str) -> Path:
        return self.directory / digest

    def persist(self, digest: str) -> None:
        """Have a snapshot on disk for good, where no folder could give it again. Raises StorageFull."""
        try:
            for directory, _, files in os.walk(self.path(digest)):
                for name in files:
                    with (Path(directory) / name).open("rb") as file:
                        os.fsync(file.fileno())
                sync_directory(Path(directory))
            sync_directory(self.directory)
        except OSError as error:
            raise StorageFull(f"the state directory cannot be written: {error.strerror}") from error

    def _keep(self, staging: Path, digest: str) -> Path:
        kept = self.path(digest)
        if kept.exists() and self._sound(digest):
            os.utime(kept)  # wanted again: not to be collected now
        else:
            shutil.rmtree(kept, ignore_errors=True)
            staging.chmod(0o755)
            staging.rename(kept)
            self._known.add(digest)
        return kept

    def _sound(self, digest: str) -> bool:
        """Look once at what an earlier process left: a power cut may have emptied files under a good name."""
        if digest not in self._known:
            staging = self._stage()
            try:
                if _copy(self.path(digest), survey(self.path(digest)), staging) != digest:
                    return False
            except (_Changed, OSError, InvalidBundle):
                return False
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            self._known.add(digest)
        return True

    def collect(self, used: frozenset[str]) -> list[str]:
        """Remove snapshots that nothing uses, and staging left by a crash. Returns the digests that went.

        What was taken within the last minute stays: it may be about to be used.
        """
        if not self.directory.is_dir():
            return []
        old = time.time() - COLLECT_AFTER
        entries = [entry for entry in self.directory.iterdir() if entry.name not in used]
        unused = [entry for entry in entries if entry.stat().st_mtime < old]
        for entry in unused:
            shutil.rmtree(entry, ignore_errors=True)
        return [entry.name for entry in unused]


def revision(digest: str, manifest: Manifest) -> str:
    """Name what rolls an instance: the code's digest and the fields that reach into it."""
    told = {**manifest.rolling(), "name": manifest.metadata.name, "version": manifest.spec.version}
    rolling = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{digest}\n{rolling}".encode()).hexdigest()


def sealed(revision: str, seal: str) -> str:
    """Name a revision that also depends on what the manifest only refers to."""
    return hashlib.sha256(f"{revision}\n{seal}".encode()).hexdigest()


def survey(folder: Path) -> list[Entry]:
    """List what a snapshot would hold, sorted; raises InvalidBundle naming what may not be in it."""
    entries = sorted(_walk(folder, "", 0), key=lambda entry: entry.path)
    if len(entries) > MAX_FILES:
        raise InvalidBundle(f"the folder holds {len(entries)} files; at most {MAX_FILES} are allowed")
    total = sum(entry.size for entry in entries)
    if total > MAX_BYTES:
        raise InvalidBundle(f"the folder holds {total} bytes; at most {MAX_BYTES} are allowed")
    return entries


def _walk(directory: Path, prefix: str, depth: int) -> Iterator[Entry]:
    if depth > MAX_DEPTH:
        raise _refused(prefix, f"is nested deeper than {MAX_DEPTH} folders")
    with os.scandir(directory) as found:
        for number, item in enumerate(found):
            if number > MAX_FILES * 2:
                raise InvalidBundle(f"the folder holds far more than {MAX_FILES} files")
            if item.name in LEFT_OUT or item.name.endswith(".pyc") or prefix + item.name == MANIFEST:
                continue
            path = prefix + item.name
            status = item.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(Path(item.path), f"{path}/", depth + 1)
            elif stat.S_ISREG(status.st_mode):
                _plain(path)
                executable = bool(status.st_mode & 0o111)
                yield Entry(path, status.st_mtime_ns, status.st_size, status.st_ino, executable)
            else:
                raise _refused(path, "is a link, a device or a pipe; only files and folders are allowed")


def _plain(path: str) -> None:
    if len(path.encode(errors="surrogateescape")) > 255 or not path.isprintable():
        raise _refused(
            path[:60].encode(errors="replace").decode(), "is not a plain name of at most 255 bytes"
        )


def _copy(folder: Path, entries: list[Entry], staging: Path) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        target = staging / entry.path
        for parent in reversed(target.relative_to(staging).parents[:-1]):
            (staging / parent).mkdir(exist_ok=True)
            (staging / parent).chmod(0o755)
        name = entry.path.encode(errors="surrogateescape")
        digest.update(b"%d %d %d\n" % (len(name), entry.executable, entry.size))
        digest.update(name)
        with target.open("wb") as copy:
            for piece in _read(folder, entry):
                digest.update(piece)
                copy.write(piece)
        target.chmod(0o755 if entry.executable else 0o644)
    return digest.hexdigest()


class _Changed(Exception):
    """What was opened is not what was listed."""


def _read(folder: Path, entry: Entry) -> Iterator[bytes]:
    # Opened without following links: between listing and reading the author may swap a file for one, or a folder on
    # the way to it; then what was opened is another file than the one listed.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(folder / entry.path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if (status.st_mtime_ns, status.st_size, status.st_ino) != (entry.mtime_ns, entry.size, entry.inode):
            raise _Changed
        left = entry.size
        while piece := file.read(min(_PIECE, left + 1)):
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise _Changed


def _refused(path: str, what: str) -> InvalidBundle:
    return InvalidBundle(f"{path} {what}", [Problem(path, what)])


def _storage(error: OSError, folder: Path) -> Exception:
    if error.errno in {28, 122}:  # ENOSPC, EDQUOT
        return StorageFull("no room in the state directory for a copy of the plugin's code")
    return InvalidBundle(f"the folder {folder.name} cannot be read: {error.strerror}")
