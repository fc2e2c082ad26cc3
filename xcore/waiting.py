"""Waiting for a plugin to come so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xcore.clock import Clock
from xcore.entry import Entry
from xcore.runtimes.seams import Observed


def settled(entry: Entry, observed: Observed | None) -> bool | None:
    """Tell whether what serves is what is wanted; None as long as that may still become so."""
    over = observed is not None and (observed.settled or observed.given_up)
    if not entry.suspended and (not over or entry.pending):
        return None
    return observed is not None and observed.settled


async def comes(
    changed: asyncio.Event, clock: Clock, seconds: float, decided: Callable[[], bool | None]
) -> bool:
    """Wait until it is decided, looking whenever something `changed`; False when it is not within `seconds`."""
    until = clock.time() + seconds
    while (verdict := decided()) is None:
        changed.clear()
        if not await clock.wait(changed, until - clock.time()):
            return False
    return verdict
