import asyncio
from collections.abc import AsyncIterator

from xcore.plugin import Plugin, action


class Countdown(Plugin):
    @action(safe=True)
    async def count(self, start: int = 10, seconds: float = 1.0) -> AsyncIterator[int]:
        """Count down: server-sent events or lines of JSON, as the caller asks."""
        for number in range(start, 0, -1):
            yield number
            await asyncio.sleep(seconds)
