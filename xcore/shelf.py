"""Plugins that came through the API: what is wanted of each, and the revisions that can be gone back to.

One document per plugin, replaced as a whole: writing it is the one moment at which an install, a change or a removal
happens. Code lies beside it, named by its content, and is on disk before a document names it. The shelf is a source of
declarations like the plugins directory, and collects the code that no kept revision names.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from xcore.bundle import Snapshots, revision
from xcore.errors import Conflict, InvalidBundle, InvalidManifest, InvalidSpec, NotAllowedTrusted, XcoreError
from xcore.instance_spec import Isolation
from xcore.ledger import KEPT_REVISIONS, Kept, Shelved
from xcore.loader import Declared
from xcore.manifest import Manifest, from_dict
from xcore.store import Store

KIND = "shelf"
MAX_PLUGINS = 1_000
_DOOR = "api/"  # no folder in the plugins directory can be called so


def door(name: str) -> str:
    """Where a plugin of the shelf is declared, in the place of a folder's name."""
    return _DOOR + name


def demand_untrusted(manifest: Manifest) -> None:
    """Whoever may write to the API may not become the controller: trusted code comes from the operator's folders alone."""
    if manifest.spec.isolation is Isolation.TRUSTED:
        raise NotAllowedTrusted(
            "a plugin sent through the API is never trusted: put it into the plugins directory, or make it Sandboxed"
        )


class Shelf:
    """See `Ledger`, and `Source`. Reads everything once; every change is on disk before it is seen."""

    declares_mode = False

    def __init__(self, store: Store, snapshots: Snapshots) -> None:
        self._store, self.snapshots = store, snapshots
        read = ((name, store.read(KIND, name)) for name in store.names(KIND))
        self._shelved = {name: _shelved(name, document) for name, document in read if document}
        self._declared: dict[str, tuple[str, Declared]] = {}

    def get(self, name: str) -> Shelved | None:
        return self._shelved.get(name)

    async def read(self, name: str) -> Shelved | None:
        return self._shelved.get(name)

    def version(self, name: str) -> str:
        shelved = self._shelved.get(name)
        return shelved.version if shelved else ""

    async def put(self, name: str, kept: Kept, known: Shelved | None) -> None:
        """Raises StorageFull. The oldest revision goes when there are ten."""
        if known is None and len(self._shelved) >= MAX_PLUGINS:
            raise Conflict(f"{MAX_PLUGINS} plugins are there already; delete one first")
        uid = known.uid if known else secrets.token_hex(4)
        revisions = (*(known.revisions if known else ()), kept)[-KEPT_REVISIONS:]
        document = {"uid": uid, "revisions": [_document(each) for each in revisions]}
        await asyncio.to_thread(self._store.write, KIND, name, document)
        self._shelved = {**self._shelved, name: Shelved(name, uid, revisions)}

    async def delete(self, name: str, known: Shelved) -> None:  # noqa: ARG002  nobody else writes here
        await asyncio.to_thread(self._store.delete, KIND, name)
        self._shelved = {of: shelved for of, shelved in self._shelved.items() if of != name}

    async def holds(self, name: str, digest: str) -> bool:  # noqa: ARG002  of whichever plugin
        return digest in self._digests() and self.snapshots.path(digest).is_dir()

    async def wait_gone(self, name: str, seconds: float) -> bool:  # noqa: ARG002  nothing was left by `delete`
        return True

    def scan(self) -> Sequence[Declared]:
        """Give what every plugin of the shelf wants, by name."""
        shelved = self._shelved
        self._declared = {name: self._look(shelved[name]) for name in sorted(shelved)}
        return [declared for _, declared in self._declared.values()]

    def collect(self, used: frozenset[str]) -> list[str]:
        """Remove the code that neither runs nor belongs to a kept revision."""
        return self.snapshots.collect(used | self._digests())

    def _digests(self) -> frozenset[str]:
        return frozenset(kept.digest for shelved in self._shelved.values() for kept in shelved.revisions)

    def _look(self, shelved: Shelved) -> tuple[str, Declared]:
        known = self._declared.get(shelved.name)
        if known and known[0] == shelved.version and known[1].error is None:
            return known
        return shelved.version, self._declare(shelved)

    def _declare(self, shelved: Shelved) -> Declared:
        folder, digest = door(shelved.name), shelved.newest.digest
        try:
            manifest = from_dict(dict(shelved.newest.manifest))
            demand_untrusted(manifest)
        except InvalidManifest as refused:  # a version with other fields accepted it
            return Declared(folder, error=InvalidSpec(refused.detail, refused.problems))
        except NotAllowedTrusted as refused:
            return Declared(folder, manifest, error=refused)
        if not digest:
            return Declared(folder, manifest)
        code = self.snapshots.path(digest)
        error: XcoreError | None = None
        if not code.is_dir():
            error = InvalidBundle("its code is gone from the state directory; send it again")
        return Declared(folder, manifest, digest, revision(digest, manifest), code, error)


def with_code(manifest: Manifest, digest: str) -> Manifest:
    """Give the manifest as it is kept: its source names the code that came with it."""
    data = manifest.to_dict()
    spec = data["spec"]
    assert isinstance(spec, dict)
    return from_dict({**data, "spec": {**spec, "source": {"bundle": f"sha256:{digest}"}}})


def _document(kept: Kept) -> dict[str, Any]:
    return {key: value for key, value in asdict(kept).items() if value != ""}


def _shelved(name: str, document: Mapping[str, Any]) -> Shelved:
    known = {each.name for each in fields(Kept)}
    revisions = (
        Kept(**{"digest": "", **{key: value for key, value in each.items() if key in known}})
        for each in document["revisions"]
    )
    return Shelved(name, document["uid"], tuple(revisions))
