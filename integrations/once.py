"""`Idempotency-Key`: an order that comes twice is carried out once, and both are told the same.

What is remembered is an order that was carried out, and then its answer; a refused one may be sent again with its key. Keys
are each caller's own, kept in the store for a day, the last 256 of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from xcore.clock import Clock, SystemClock
from xcore.errors import Conflict, Invalid, StorageFull
from xcore.store import Store

KIND = "answers"
KEPT_ANSWERS = 256
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

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self._store, self._clock = store, clock or SystemClock()
        found = {name: (store.read(KIND, name) or {}).get("at", 0.0) for name in store.names(KIND)}
        self._kept: dict[str, float] = dict(sorted(found.items(), key=lambda pair: pair[1]))
        self._under_way: set[str] = set()

    async def perform(
        self,
        claimed: Claim | None,
        order: Callable[[], Awaitable[Done]],
        answer: Callable[[Done], Awaitable[Response]],
    ) -> Response:
        """Carry the order out unless it was, and answer, as before if it was answered."""
        if claimed is None:
            return await answer(await order())
        async with self._alone(claimed):
            known = (
                await asyncio.to_thread(self._store.read, KIND, claimed.id)
                if claimed.id in self._kept
                else None
            )
            if known is not None and known["fingerprint"] != claimed.fingerprint:
                raise InvalidKey("this Idempotency-Key was used for another request; use a new one")
            if known is not None and "answer" in known:
                return Response(
                    known["answer"]["body"], known["answer"]["status"], known["answer"]["headers"]
                )
            done = Done(**known["done"]) if known is not None else await order()
            document = {
                "fingerprint": claimed.fingerprint,
                "done": {"name": done.name, "status": done.status},
            }
            await self._remember(claimed, document)
            response = await answer(done)
            await self._remember(claimed, {**document, "answer": _told(response)})
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

    async def _remember(self, claimed: Claim, document: dict[str, Any]) -> None:
        now = self._clock.time()
        self._kept.pop(claimed.id, None)
        old = [name for name, at in self._kept.items() if at < now - KEPT_SECONDS]
        old += list(self._kept)[len(old) : len(self._kept) - KEPT_ANSWERS + 1]
        self._kept = {name: at for name, at in self._kept.items() if name not in old} | {claimed.id: now}
        try:
            await asyncio.to_thread(self._write, claimed.id, {**document, "at": now}, old)
        except StorageFull as error:
            _log.warning("an Idempotency-Key could not be remembered: %s", error.detail)

    def _write(self, name: str, document: dict[str, Any], old: list[str]) -> None:
        for each in old:
            self._store.delete(KIND, each)
        self._store.write(KIND, name, document)


def _told(response: Response) -> dict[str, Any]:
    headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    return {"status": response.status_code, "headers": headers, "body": bytes(response.body).decode()}
