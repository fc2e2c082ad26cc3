"""`Idempotency-Key`: an order that comes twice is carried out once, and both are told the same.

What is remembered is an order that was carried out, and then its answer; a refused one may be sent again with its key. Keys
are each caller's own, rows of the database for a day, the last 1,000 of them. Where they cannot be read, an order with a key
is refused: nobody could tell whether it was carried out.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request, Response
from sqlalchemy import delete, or_, select

from integrations.database.database import Database
from integrations.database.tables import AnswerRow
from xcore.clock import Clock, SystemClock
from xcore.errors import Conflict, DatabaseUnavailable, Invalid, StorageFull

KEPT_ANSWERS = 1_000
KEPT_SECONDS = 24 * 3600.0
MAX_KEY = 255
_HEADERS = ("content-type", "location", "etag")
_log = logging.getLogger("xcore.controller")


class InvalidKey(Invalid):
    reason = "InvalidArguments"


@dataclass(frozen=True, slots=True)
class Claim:
    """A key as it is stored, and what tells one request from another."""

    id: str
    fingerprint: str

    @property
    def mark(self) -> str:
        return f"{self.id}.{self.fingerprint[:16]}"


@dataclass(frozen=True, slots=True)
class Done:
    """An order that was carried out: the plugin, and the status of its answer."""

    name: str
    status: int


def claim(request: Request, content: str = "") -> Claim | None:
    """What the request's key claims; None without one. `content`: a digest of its body."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        raise InvalidKey(f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters")
    asked = [request.method, request.url.path, *sorted(request.url.query.split("&")), content]
    caller = f"{request.state.caller}\n{key}"
    return Claim(
        hashlib.sha256(caller.encode()).hexdigest()[:32],
        hashlib.sha256("\n".join(asked).encode()).hexdigest(),
    )


class Once:
    """Knows the orders of the last day that came with a key."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database, self._clock = database, clock or SystemClock()
        self._under_way: set[str] = set()

    async def perform(
        self,
        claimed: Claim | None,
        order: Callable[[], Awaitable[Done]],
        answer: Callable[[Done], Awaitable[Response]],
    ) -> Response:
        """Carry the order out unless it was, and answer, as before if it was answered.

        Raises DatabaseUnavailable, of an order with a key, before anything is done.
        """
        if claimed is None:
            return await answer(await order())
        async with self._alone(claimed):
            known = await self._known(claimed)
            if known is not None and known.fingerprint != claimed.fingerprint:
                raise InvalidKey("this Idempotency-Key was used for another request; use a new one")
            if known is not None and known.body is not None:
                return Response(known.body, known.status, known.headers)
            done = Done(known.plugin, known.status) if known is not None else await order()
            await self._remember(claimed, done)
            response = await answer(done)
            await self._remember(claimed, done, response)
            return response

    @asynccontextmanager
    async def _alone(self, claimed: Claim) -> AsyncIterator[None]:
        if claimed.id in self._under_way:
            raise Conflict("a request with this Idempotency-Key is under way; wait for its answer")
        self._under_way.add(claimed.id)
        try:
            yield
        finally:
            self._under_way.discard(claimed.id)

    async def _known(self, claimed: Claim) -> AnswerRow | None:
        fresh = AnswerRow.at >= self._clock.time() - KEPT_SECONDS
        async with self._database.reading() as session:
            return await session.scalar(select(AnswerRow).where(AnswerRow.id == claimed.id, fresh))

    async def _remember(self, claimed: Claim, done: Done, response: Response | None = None) -> None:
        now = self._clock.time()
        row = AnswerRow(
            id=claimed.id,
            at=now,
            fingerprint=claimed.fingerprint,
            plugin=done.name,
            status=response.status_code if response else done.status,
            headers=_headers(response) if response else {},
            body=bytes(response.body).decode() if response else None,
        )
        newest = select(AnswerRow.at).order_by(AnswerRow.at.desc()).offset(KEPT_ANSWERS).limit(1)
        old = or_(AnswerRow.at < now - KEPT_SECONDS, AnswerRow.at <= newest.scalar_subquery())
        try:
            async with self._database.writing() as session:
                await session.merge(row)
                await session.execute(delete(AnswerRow).where(old))
        except (StorageFull, DatabaseUnavailable, Conflict) as error:
            _log.warning("an Idempotency-Key could not be remembered: %s", error.detail)


def _headers(response: Response) -> dict[str, str]:
    return {name: response.headers[name] for name in _HEADERS if name in response.headers}
