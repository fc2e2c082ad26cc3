"""Plugins that came through the API, as rows: what is wanted of each, and the revisions that can be gone back to.

One transaction is the one moment at which an install, a change or a removal happens. Code lies in the state directory, named
by its content, and is on disk before a row names it. All is read from memory: a database that is away ends no plugin and
hides none. Before the first read nobody knows what is wanted; what ran before runs on then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from integrations.database.database import Database
from integrations.database.faults import AWAY
from integrations.database.tables import PluginRow, RevisionRow
from xcore.bundle import Snapshots
from xcore.declare import declare, door
from xcore.errors import Conflict, DatabaseUnavailable
from xcore.ledger import KEPT_REVISIONS, Kept, Overtaken, Shelved
from xcore.loader import Declared

MAX_PLUGINS = 1_000
WAITING = "waiting for the database"
_AGAIN_SECONDS = 1.0
_log = logging.getLogger("xcore.ledger")


class RowLedger:
    """See `Ledger`, and `Source`. `remembered`: the doors of plugins that an earlier controller served.

    Every change is on disk before it is seen; one whose fate is unknown, because the connection was lost, is read again.
    """

    declares_mode = False

    def __init__(self, database: Database, snapshots: Snapshots, remembered: Collection[str] = ()) -> None:
        self._database, self.snapshots, self._remembered = database, snapshots, remembered
        self._shelved: Mapping[str, Shelved] | None = None
        self._declared: dict[str, tuple[str, Declared]] = {}
        self._outdated = asyncio.Event()
        self._changes = 0

    # -- its life -----------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def follow(self, changed: Callable[[], object]) -> AsyncIterator[None]:
        """Read everything, now or as soon as the database is there; `changed` is called when that was later."""
        try:
            await self._load()
        except DatabaseUnavailable:
            self._outdated.set()
        task = asyncio.create_task(self._keep_up(changed))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_up(self, changed: Callable[[], object]) -> None:
        while True:
            await self._outdated.wait()
            await self._database.wait_there()
            try:
                await self._load()
            except DatabaseUnavailable as error:
                _log.warning("what is wanted cannot be read yet: %s", error.detail)
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                changed()

    async def _load(self) -> None:
        self._outdated.clear()
        changes = self._changes
        try:
            async with self._database.reading() as session:
                shelved = await _read(session)
        except DatabaseUnavailable:
            self._outdated.set()
            raise
        if changes == self._changes:
            self._shelved = shelved
        else:  # it may be older than what was written meanwhile
            self._outdated.set()

    def _now(self, shelved: Mapping[str, Shelved]) -> None:
        self._shelved, self._changes = shelved, self._changes + 1

    # -- Ledger -------------------------------------------------------------------------------------------------

    async def read(self, name: str) -> Shelved | None:
        """Raise DatabaseUnavailable as long as nothing was read yet."""
        return self._known().get(name)

    def version(self, name: str) -> str:
        shelved = (self._shelved or {}).get(name)
        return shelved.version if shelved else ""

    async def put(self, name: str, kept: Kept, known: Shelved | None) -> None:
        """Raises StorageFull, DatabaseUnavailable. The oldest revision goes when there are ten."""
        if known is None and len(self._known()) >= MAX_PLUGINS:
            raise Conflict(f"{MAX_PLUGINS} plugins are there already; delete one first")
        uid = known.uid if known else secrets.token_hex(4)
        async with self._change() as session:
            if known is None:
                session.add(PluginRow(name=name, uid=uid, wanted=kept.number))
                await session.flush()
            else:
                await _one(session, _as_known(update(PluginRow), known).values(wanted=kept.number))
            session.add(_row(name, kept))
            old = RevisionRow.number <= kept.number - KEPT_REVISIONS
            await session.execute(delete(RevisionRow).where(RevisionRow.plugin == name, old))
        revisions = (*(known.revisions if known else ()), kept)[-KEPT_REVISIONS:]
        self._now({**self._known(), name: Shelved(name, uid, revisions)})

    async def delete(self, name: str, known: Shelved) -> None:
        """Raises StorageFull, DatabaseUnavailable."""
        async with self._change() as session:
            await _one(session, _as_known(delete(PluginRow), known))
        self._now({of: shelved for of, shelved in self._known().items() if of != name})

    @contextlib.asynccontextmanager
    async def _change(self) -> AsyncIterator[AsyncSession]:
        """A transaction; where it turns out that memory is not what the rows say, they are read again."""
        try:
            async with self._database.writing() as session:
                yield session
        except (Conflict, Overtaken) as error:
            await self._load()
            raise Overtaken from error
        except BaseException:
            self._outdated.set()  # perhaps it was written all the same
            raise

    async def holds(self, name: str, digest: str) -> bool:  # noqa: ARG002  of whichever plugin
        return digest in self._digests() and self.snapshots.path(digest).is_dir()

    async def wait_gone(self, name: str, seconds: float) -> bool:  # noqa: ARG002  nothing was left by `delete`
        return True

    def collect(self, used: frozenset[str]) -> list[str]:
        """Remove the code that neither runs nor belongs to a kept revision; nothing while those are unknown."""
        return [] if self._shelved is None else self.snapshots.collect(used | self._digests())

    # -- Source -------------------------------------------------------------------------------------------------

    def scan(self) -> Sequence[Declared]:
        """Give what every plugin wants, by name; before that is known, that it is not."""
        shelved = self._shelved
        if shelved is None:
            return [Declared(place, pending=WAITING) for place in sorted(self._remembered)]
        self._declared = {name: self._look(shelved[name]) for name in sorted(shelved)}
        return [declared for _, declared in self._declared.values()]

    def _look(self, shelved: Shelved) -> tuple[str, Declared]:
        known = self._declared.get(shelved.name)
        if known and known[0] == shelved.version and known[1].error is None:
            return known
        return shelved.version, declare(shelved, self.snapshots)

    def _known(self) -> Mapping[str, Shelved]:
        if self._shelved is None:
            raise DatabaseUnavailable(self._database.away or AWAY)
        return self._shelved

    def _digests(self) -> frozenset[str]:
        return frozenset(kept.digest for shelved in self._known().values() for kept in shelved.revisions)


def remembered_doors(folders: Collection[str]) -> frozenset[str]:
    """Of all places where plugins were declared, those of a ledger."""
    return frozenset(folder for folder in folders if folder.startswith(door("")))


async def _read(session: AsyncSession) -> dict[str, Shelved]:
    plugins = list(await session.scalars(select(PluginRow)))
    revisions: dict[str, list[Kept]] = {plugin.name: [] for plugin in plugins}
    for row in await session.scalars(select(RevisionRow).order_by(RevisionRow.plugin, RevisionRow.number)):
        revisions[row.plugin].append(_kept(row))
    return {
        plugin.name: Shelved(plugin.name, plugin.uid, tuple(revisions[plugin.name])) for plugin in plugins
    }


def _as_known(statement: Any, known: Shelved) -> Any:
    """Of this very plugin, as it was when it was read."""
    return statement.where(
        PluginRow.name == known.name, PluginRow.uid == known.uid, PluginRow.wanted == known.newest.number
    )


async def _one(session: AsyncSession, statement: Any) -> None:
    """Have the one row changed that was read; raises Overtaken when it is another by now."""
    if await session.scalar(statement.returning(PluginRow.name)) is None:
        raise Overtaken


def _row(name: str, kept: Kept) -> RevisionRow:
    return RevisionRow(
        plugin=name,
        number=kept.number,
        manifest=dict(kept.manifest),
        digest=kept.digest,
        by=kept.by,
        at=kept.at,
        how=kept.how,
        note=kept.note,
        request=kept.request,
    )


def _kept(row: RevisionRow) -> Kept:
    return Kept(
        row.number, row.manifest, row.digest, row.by, row.at, row.how, note=row.note, request=row.request
    )
