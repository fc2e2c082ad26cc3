"""A stream: an action that yields instead of returning."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from xcore.plugin import Plugin, action


@dataclass
class Tick:
    left: int


class Countdown(Plugin):
    @action(safe=True)
    async def count(
        self,
        start: Annotated[int, Meta(ge=0, le=3600)] = 10,
        seconds: Annotated[float, Meta(ge=0, le=60)] = 1,
    ) -> AsyncIterator[Tick]:
        """Count down to zero, one value every so many seconds."""
        for left in range(start, 0, -1):
            yield Tick(left)
            await asyncio.sleep(seconds)
        yield Tick(0)
