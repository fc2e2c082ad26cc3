"""Sites: unpacked dependencies, each made once, addressed by its content, and never changed again.

Below one directory: `<digest>` is a tree, `locks/<key>` holds the digest of what a lock became for one Python and
platform, `files/<digest>` is a second name (a hard link) of every file, so that trees share what they have in common.
All of it is checked against its name before it is believed: a power cut may have emptied files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import filecmp
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Set as AbstractSet
from pathlib import Path

from xcore.errors import StorageFull
from xcore.packing.lock import Lock
from xcore.packing.target import Target
from xcore.packing.unpack import unpack
from xcore.packing.uv import Job

COLLECT_AFTER = 60.0
_FULL = {errno.ENOSPC, errno.EDQUOT}
# No second name to be had: a file has all it may have, or the file system gives none. Then it stays a copy.
_NO_LINK = {errno.EMLINK, errno.EPERM, errno.ENOTSUP}


class Sites:
    """Blocks; call it in a thread. Several processes may share the directory."""

    def __init__(self, directory: Path, reserved: AbstractSet[str] = frozenset()) -> None:
        self.directory, self._reserved = directory, reserved
        self._known: set[str] = set()
        self._locks, self._files = directory / "locks", directory / "files"

    def take(self, lock: Lock, target: Target, job: Job) -> Path:
        """Give the site of a lock, made now unless it is there: by one, however many ask.

        Raises what `unpack` raises, StorageFull; then nothing is left of it.
        """
        key = self.key(lock, target)
        try:
            for directory in (self.directory, self._locks, self._files):
                directory.mkdir(parents=True, exist_ok=True, mode=0o755)
            with self._alone(key, job):
                return self.find(key) or self._make(key, lock, target, job)
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull("no room in the state directory to unpack the dependencies") from error
            raise StorageFull(f"the state directory cannot be written: {error.strerror}") from error

    def key(self, lock: Lock, target: Target) -> str:
        """Name what a lock becomes for one target: equal for the same packages, whoever wants them."""
        text = f"1\n{target.python}\n{target.platform}\n{lock.requirements}"
        return hashlib.sha256(text.encode()).hexdigest()

    def find(self, key: str) -> Path | None:
        """Give the site made for a key, if it is there and sound; it is not collected within the next minute."""
        try:
            digest = (self._locks / key).read_text()
            site = self.directory / digest
            os.utime(site)
        except OSError:
            return None
        if not digest:  # of a lock that is being unpacked, or could not be
            return None
        if digest not in self._known:
            if _digest(site) != digest:
                return None
            self._known.add(digest)
        return site

    def collect(self, used: frozenset[str]) -> list[str]:
        """Remove sites that nothing uses, what only they held, and what a crash left. Nothing of the last minute."""
        if not self._locks.is_dir():
            return []
        old = time.time() - COLLECT_AFTER
        kept = used | {self._locks.name, self._files.name}
        unused = [e for e in self.directory.iterdir() if e.name not in kept and e.stat().st_mtime < old]
        for entry in unused:
            shutil.rmtree(entry, ignore_errors=True)
        for note in self._locks.iterdir():
            digest = note.read_text()
            if note.stat().st_mtime < old and not (digest and (self.directory / digest).is_dir()):
                note.unlink(missing_ok=True)
        if unused:
            for file in self._files.iterdir():
                if file.stat().st_nlink == 1:
                    file.unlink()
        self._known &= {entry.name for entry in self.directory.iterdir()}
        return [entry.name for entry in unused]

    @contextlib.contextmanager
    def _alone(self, key: str, job: Job) -> Iterator[None]:
        """Wait until nobody else, here or in another process, makes the same."""
        with (self._locks / key).open("a") as note:
            while True:
                try:
                    fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    job.say("waiting: the same dependencies are being unpacked already")
                    job.go_on(after=0.1)
                else:
                    break
            yield

    def _make(self, key: str, lock: Lock, target: Target, job: Job) -> Path:
        staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=self.directory))
        try:
            tree = staging / "site"
            unpack(lock, target, tree, self._reserved, job)
            for path in _files(tree):
                self._share(path)
            digest = _digest(tree)
            site = self.directory / digest
            if digest not in self._known and site.exists() and _digest(site) != digest:
                shutil.rmtree(site)
            if not site.exists():
                tree.rename(site)
            self._known.add(digest)
            (self._locks / key).write_text(digest)
            os.utime(site)
            return site
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _share(self, path: Path) -> None:
        """Make a file one with its equal in other sites. Their contents are compared: a name alone may lie."""
        executable = "x" if os.access(path, os.X_OK) else ""
        shared = self._files / (_hash(path) + executable)
        try:
            if shared.exists() and not filecmp.cmp(path, shared, shallow=False):
                shared.unlink()
            if not shared.exists():
                os.link(path, shared)
                return
            twin = path.with_name(f"{path.name[:200]}.twin")
            os.link(shared, twin)
            twin.replace(path)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise


def _files(tree: Path) -> list[Path]:
    return [Path(folder) / name for folder, _, names in os.walk(tree) for name in names]


def _digest(tree: Path) -> str:
    """Name a tree by the paths, contents and execute bits of its files."""
    digest = hashlib.sha256()
    for path in sorted(_files(tree)):
        name = bytes(path.relative_to(tree))
        digest.update(b"%d %d %s " % (len(name), os.access(path, os.X_OK), _hash(path).encode()))
        digest.update(name)
    return digest.hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
