"""What is remembered of a plugin over restarts of the controller, as documents in the store.

A document of another version is read as far as it is understood: what is missing has its default.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xcore.errors import InvalidManifest
from xcore.manifest import from_dict
from xcore.restart import Restarts
from xcore.store import Store
from xcore.workload import Exit, ExitReason, Origin, Workload

KIND = "plugins"


@dataclass(frozen=True, slots=True)
class Record:
    """`served` is the last revision that was ready; `generation` counts what was accepted."""

    folder: str = ""
    suspended: bool = False
    generation: int = 0
    served: Workload | None = None
    restarts: Restarts = field(default_factory=Restarts)


class Records:
    """Records by plugin name. Directories are stored by name only: code lies under `snapshots`, dependencies under `sites`."""

    def __init__(self, store: Store, *, snapshots: Path, sites: Path) -> None:
        self._store, self._snapshots, self._sites = store, snapshots, sites
        self._folders: dict[str, str] = dict((store.read("index", "folders") or {}).get("folders", {}))

    def read(self, name: str) -> Record:
        document = self._store.read(KIND, name)
        if document is None:
            return Record()
        return Record(
            folder=document.get("folder", ""),
            suspended=document.get("suspended", False),
            generation=document.get("generation", 0),
            served=self._workload(document.get("served")),
            restarts=restarts_of(document.get("restarts", {})),
        )

    def write(self, name: str, record: Record) -> None:
        document = {
            "folder": record.folder,
            "suspended": record.suspended,
            "generation": record.generation,
            "served": _served(record.served),
            "restarts": history_document(record.restarts),
        }
        self._store.write(KIND, name, document)
        if record.folder and self._folders.get(record.folder) != name:
            known = {**self._folders, record.folder: name}
            self._store.write("index", "folders", {"folders": known})
            self._folders = known

    def delete(self, name: str) -> None:
        self._store.delete(KIND, name)
        kept = {folder: of for folder, of in self._folders.items() if of != name}
        if kept != self._folders:
            self._store.write("index", "folders", {"folders": kept})
            self._folders = kept

    def keep_only(self, names: Container[str]) -> None:
        """Forget the rest: what went while no controller looked, or was being forgotten when one was killed."""
        for name in {*self._store.names(KIND), *self._folders.values()}:
            if name not in names:
                self.delete(name)

    def name_of(self, folder: str) -> str | None:
        """Tell which plugin this folder held when it was last readable."""
        return self._folders.get(folder)

    def folders(self) -> frozenset[str]:
        """Where plugins were declared; those of other doors have a slash in it."""
        return frozenset(self._folders)

    def _workload(self, document: dict[str, Any] | None) -> Workload | None:
        if document is None:
            return None
        try:
            manifest = from_dict(document["manifest"])
        except InvalidManifest:
            return None  # written by a version with other fields: the folder will tell again
        code, site = document.get("code"), document.get("site")
        return Workload(
            manifest,
            document["revision"],
            document["generation"],
            self._snapshots / code if code else None,
            self._sites / site if site else None,
            document.get("image", ""),
            _origin(document.get("origin")),
        )


def _served(workload: Workload | None) -> dict[str, Any] | None:
    if workload is None:
        return None
    return {
        "manifest": workload.manifest.to_dict(),
        "revision": workload.revision,
        "generation": workload.generation,
        "code": workload.code.name if workload.code else None,
        "site": workload.site.name if workload.site else None,
        "image": workload.image,
        "origin": [workload.origin.namespace, workload.origin.uid] if workload.origin else None,
    }


def _origin(told: list[str] | None) -> Origin | None:
    return Origin(*told) if told else None


def history_document(history: Restarts) -> dict[str, Any]:
    """Write restarts down as JSON data; `restarts_of` reads it back."""
    last = history.last
    return {
        "count": history.count,
        "recent": list(history.recent),
        "consecutive": history.consecutive,
        "held": history.held,
        "nextTime": history.next_time,
        "last": None if last is None else [last.reason.value, last.code, last.at, last.message, last.served],
    }


def restarts_of(document: Mapping[str, Any]) -> Restarts:
    """Read what `history_document` wrote; what is missing has its default."""
    return Restarts(
        count=document.get("count", 0),
        recent=tuple(document.get("recent", ())),
        consecutive=document.get("consecutive", 0),
        held=document.get("held", ""),
        next_time=document.get("nextTime"),
        last=_exit(document.get("last")),
    )


def _exit(last: list[Any] | None) -> Exit | None:
    if last is None or last[0] not in set(ExitReason):
        return None
    return Exit(ExitReason(last[0]), *last[1:])
