"""The little that must survive the controller, behind a seam: small JSON documents by name, written atomically."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

from xcore.errors import StorageFull

_log = logging.getLogger("xcore.store")


class Store(Protocol):
    """Documents by (kind, name); names are validated by whoever makes them. A write is whole or not at all."""

    def read(self, kind: str, name: str) -> dict[str, Any] | None: ...
    def write(self, kind: str, name: str, document: dict[str, Any]) -> None: ...
    def delete(self, kind: str, name: str) -> None: ...
    def names(self, kind: str) -> list[str]: ...


class FileStore:
    """One file a document: `<directory>/<kind>/<name>.json`, mode 0600, replaced by rename after fsync."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            document = json.loads(self._path(kind, name).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            # Never written by us: rename is atomic. What cannot be read is treated as not there, and kept aside.
            _log.error("%s/%s.json in the state directory cannot be read; it is set aside", kind, name)
            self._path(kind, name).rename(self._path(kind, f"{name}.unreadable"))
            return None
        return document if isinstance(document, dict) else None

    def write(self, kind: str, name: str, document: dict[str, Any]) -> None:
        path = self._path(kind, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(path, json.dumps(document, indent=1).encode())
        except OSError as error:
            raise StorageFull(f"the state directory cannot be written: {error.strerror}") from error

    def delete(self, kind: str, name: str) -> None:
        path = self._path(kind, name)
        try:
            if path.exists():
                path.unlink()
                sync_directory(path.parent)
        except OSError as error:
            raise StorageFull(f"the state directory cannot be written: {error.strerror}") from error

    def names(self, kind: str) -> list[str]:
        found = (path.stem for path in (self._directory / kind).glob("*.json"))
        return sorted(name for name in found if "." not in name)  # others are being written, or set aside

    def tidy(self) -> None:
        """Remove what a controller that was killed had begun to write. Only for the one controller there is."""
        for path in self._directory.glob("*/.*"):
            path.unlink(missing_ok=True)

    def _path(self, kind: str, name: str) -> Path:
        return self._directory / kind / f"{name}.json"


class MemoryStore:
    """The same in memory, for tests and for those who keep nothing."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        return self.documents.get((kind, name))

    def write(self, kind: str, name: str, document: dict[str, Any]) -> None:
        self.documents[kind, name] = document

    def delete(self, kind: str, name: str) -> None:
        self.documents.pop((kind, name), None)

    def names(self, kind: str) -> list[str]:
        return sorted(name for of, name in self.documents if of == kind)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by a rename, readable by its owner only; what was there stays until the new one is on disk."""
    descriptor, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(staged).replace(path)
        sync_directory(path.parent)
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on disk: a file that is synced and renamed may else be lost with the power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
