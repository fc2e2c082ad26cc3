"""The one way to the database: transactions as `async with` blocks, faults as errors of ours, and whether it is there.

While it is away everybody is told so at once; one look a second finds out when it is back. Nothing here is awaited by
requests to plugins.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from integrations.database import schema
from integrations.database.address import file_of
from integrations.database.faults import AWAY, BUSY, mapped
from integrations.database.file import held
from integrations.database.schema import SchemaMismatch, Version
from integrations.database.sqlite import WRITES, sqlite_engine
from xcore.errors import DatabaseUnavailable, XcoreError

ENTER_SECONDS = 0.8  # for a server's connection
# A file does not go away: SQLite itself tells of a lock in time, and a machine with too much to do is only slow.
FILE_SECONDS = 20.0
QUEUE_SECONDS = 20.0  # for those before
FILE_CONNECTIONS = 5  # a thread each
SERVER_CONNECTIONS = 10
LOOK_SECONDS = 1.0
_log = logging.getLogger("xcore.database")


class Database:
    """See the module. Open it with `async with`; transactions are begun within."""

    def __init__(self, url: URL) -> None:
        """Raises DatabaseUnavailable when SQLite's file cannot be opened."""
        self.file: Path | None = file_of(url)
        if self.file is None:
            # 0.1 s that a start with SQLite is not to pay.
            postgresql: Any = importlib.import_module("integrations.database.postgresql")
            self._enter_seconds, places = ENTER_SECONDS, SERVER_CONNECTIONS
            self._engine: AsyncEngine = postgresql.postgresql_engine(url, connections=places)
        else:
            self._enter_seconds, places = FILE_SECONDS, FILE_CONNECTIONS
            self._engine = sqlite_engine(url, connections=places)
        self._places = asyncio.Semaphore(places)
        self._one_writer = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._accepted = False  # whether its schema was once the one this code knows
        self._opened = contextlib.AsyncExitStack()
        self._there, self._gone = asyncio.Event(), asyncio.Event()
        self.away: str | None = AWAY
        self._since, self._said = time.monotonic(), ""

    # -- transactions -------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Give a session that sees one state of the whole; raises DatabaseUnavailable within a second."""
        self._demand()
        async with self._turn(writes=False):
            self._demand()  # it may have gone while this one stood in line
            async with self._transaction(writes=False) as session:
                yield session

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Give a session whose changes are on disk when the block has ended, and are not when it was left by an error.

        Raises DatabaseUnavailable or StorageFull within a second, Conflict when somebody else wrote the same key. When the
        connection is lost while it commits nobody knows which it was: the caller is told DatabaseUnavailable, and reads.
        """
        self._demand()
        async with self._turn(writes=True):
            self._demand()
            async with self._transaction(writes=True) as session:
                yield session

    @contextlib.asynccontextmanager
    async def _transaction(self, *, writes: bool) -> AsyncIterator[AsyncSession]:
        with mapped():
            async with AsyncSession(self._engine, expire_on_commit=False) as session:
                await self._begin(session, writes=writes)
                yield session
                await session.commit()

    async def _begin(self, session: AsyncSession, *, writes: bool) -> None:
        try:
            with mapped():
                async with asyncio.timeout(self._enter_seconds):
                    await session.connection(execution_options={WRITES: writes})
        except TimeoutError:
            self._lost(AWAY)
            raise DatabaseUnavailable(AWAY) from None
        except DatabaseUnavailable as error:
            if error.detail != BUSY:
                self._lost(error.detail, error.__cause__)
            raise

    @contextlib.asynccontextmanager
    async def _turn(self, *, writes: bool) -> AsyncIterator[None]:
        """Stand in line for a connection, and where the file has room for one writer before that for being it.

        Waiting here is fair; waiting for the file's lock, or for a pool, is not.
        """
        async with contextlib.AsyncExitStack() as held_places:
            try:
                async with asyncio.timeout(QUEUE_SECONDS):
                    if writes and self.file is not None:
                        await held_places.enter_async_context(self._one_writer)
                    await held_places.enter_async_context(self._places)
            except TimeoutError:
                raise DatabaseUnavailable(BUSY) from None
            yield

    # -- whether it is there ------------------------------------------------------------------------------------

    def _demand(self) -> None:
        if self.away is not None:
            raise DatabaseUnavailable(self.away)

    def _lost(self, sentence: str, cause: BaseException | None = None) -> None:
        if self.away is None:
            self._since = time.monotonic()
            self._gone.set()
        if self._said != sentence:
            self._said = sentence
            # The driver's own words: a wrong password, an unknown name. For the log alone.
            why = " ".join(str(getattr(cause, "orig", "")).split())[:300]
            _log.warning("%s; requests to plugins go on%s", sentence, f" ({why})" if why else "")
        self.away = sentence
        self._there.clear()

    @property
    def age(self) -> float | None:
        """How old what is known of the rows is at least, seconds; None while the database answers."""
        return None if self.away is None else time.monotonic() - self._since

    async def wait_there(self) -> None:
        """Return when it answers, with the schema this code knows."""
        await self._there.wait()

    async def look(self) -> None:
        """Find out whether it is there, and of the schema this code knows, or of a newer one that came meanwhile.

        Raises DatabaseUnavailable, and as such SchemaMismatch.
        """
        async with self._turn(writes=True), self._transaction(writes=True) as session:
            if self._there.is_set():
                await session.execute(text("SELECT 1"))
            else:
                version = await schema.found(await session.connection())
                # A step only adds: whoever began before it goes on, also over a connection that was lost.
                if not (self._accepted and schema.judge(version) is schema.Version.NEWER):
                    schema.demand(version)
                self._accepted = True
        if self._said:
            self._said = ""
            _log.info("the database answers")
        self.away = None
        self._there.set()

    async def _keep_looking(self) -> None:
        while True:
            # At once when it has just gone: perhaps it was one connection.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._gone.wait()
            self._gone.clear()
            if self.away is None and self.file is not None:
                continue  # a file does not go away while nobody uses it
            try:
                await self.look()
            except XcoreError as error:
                self._lost(error.detail)
            except SQLAlchemyError:  # of ours: it must not end the looking
                _log.exception("the database cannot be looked at")
                self._lost(AWAY)

    # -- its life -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open it, and look once a second from now on.

        A file is upgraded where it is older; raises DatabaseUnavailable where it cannot be used. A server may be away: then
        `away` says so. One that is there with another schema is a SchemaMismatch.
        """
        async with contextlib.AsyncExitStack() as opened:
            opened.push_async_callback(self._engine.dispose)
            if self.file is not None:
                opened.enter_context(held(self.file))
                await self._make_ready()
            try:
                await self.look()
            except DatabaseUnavailable as error:
                if self.file is not None or isinstance(error, SchemaMismatch):
                    raise
            self._opened = opened.pop_all()
        self._looking = asyncio.create_task(self._keep_looking())
        return self

    async def _make_ready(self) -> None:
        with mapped():
            async with self._engine.connect() as connection:
                await connection.execution_options(**{WRITES: True})
                await schema.check_file(connection)
                version = schema.judge(await schema.found(connection))
                if version in {Version.NONE, Version.OLDER}:
                    await schema.upgrade(connection)
                    _log.info("the tables are of version %s now", schema.newest())
                await connection.commit()

    async def __aexit__(self, *_: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._opened.aclose()
