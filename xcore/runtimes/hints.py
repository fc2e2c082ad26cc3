"""Names of plugins worth another look, each kept once until somebody has heard it: what `watch` gives, of engines and runtimes of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class Hints:
    """Give on the event loop; `follow` has one reader at a time, and loses nothing between two readers."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._wake = asyncio.Event()

    def give(self, plugin: str) -> None:
        self._names[plugin] = None
        self._wake.set()

    async def follow(self) -> AsyncIterator[str]:
        while True:
            while self._names:
                plugin = next(iter(self._names))
                del self._names[plugin]
                yield plugin
            self._wake.clear()
            await self._wake.wait()
