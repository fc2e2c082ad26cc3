"""Where a name leads, as a number: pods that may not look names up are told it. One question at a time, for whoever wants to know."""

from __future__ import annotations

import asyncio
import socket

from xcore.clock import Clock
from xcore.errors import RuntimeUnavailable

REMEMBER_SECONDS = 60.0
AGAIN_SECONDS = 5.0  # after there was no answer
RESOLVE_SECONDS = 5.0


class Numbers:
    """Of one HOST:PORT."""

    def __init__(self, place: str, clock: Clock) -> None:
        self._host, _, self._port = place.rpartition(":")
        self._clock = clock
        self._found: list[str] = []
        self._until = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def now(self, told: str) -> str:
        """Give it with an address in the name's place; raises RuntimeUnavailable when there is none.

        `told`: what pods were told already. It stays as long as the name leads there, among others, or nobody can say; and is
        not waited for.
        """
        if self._clock.time() >= self._until and self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        if not told and self._asking is not None:
            await asyncio.shield(self._asking)
        if told and (not self._found or told in self._found):
            return told
        if not self._found:
            raise RuntimeUnavailable(f"where plugins call each other, {self._host}, has no address now")
        return self._found[0]

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                host = self._host.strip("[]")
                found = await loop.getaddrinfo(host, self._port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError):
            self._until = self._clock.time() + AGAIN_SECONDS
        else:
            self._found = [authority(str(answer[4][0]), int(self._port)) for answer in found]
            self._until = self._clock.time() + REMEMBER_SECONDS
        finally:
            self._asking = None


def authority(address: str, port: int) -> str:
    """Give HOST:PORT as a URL has it (RFC 3986 section 3.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
