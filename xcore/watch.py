"""Noticing that plugin folders changed. The one module that needs `watchfiles` (the `server` extra)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

RESCAN_SECONDS = 15.0
DEBOUNCE_MS = 400
STEP_MS = 100


async def changes(directory: Path) -> AsyncIterator[None]:
    """Yield when something under the directory changed and has been quiet for 100 ms, and every 15 s regardless.

    A change is a hint to scan again, never the truth: not every file system tells.
    """
    stop = asyncio.Event()
    try:
        async for _ in awatch(
            directory,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            rust_timeout=int(RESCAN_SECONDS * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            yield
    finally:
        stop.set()
