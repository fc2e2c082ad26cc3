"""Noticing that plugin folders changed. The one module that needs `watchfiles` (the `server` extra)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

RESCAN_SECONDS = 15
DEBOUNCE_MS = 400
STEP_MS = 100
_LOOK_MS = 1_000


async def changes(directory: Path) -> AsyncIterator[None]:
    """Yield at once, when something under the directory changed and has been quiet for 100 ms, and every 15 s regardless.

    A change is a hint to scan again, never the truth: not every file system tells. Ends when the directory is not at its path
    any more: what is there instead is watched by calling it again. Raises OSError where there is none.
    """
    stop = asyncio.Event()
    watched = os.open(
        directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    )  # open: its number is not given away
    try:
        yield
        looks = RESCAN_SECONDS - 1  # what came before the watch began is found at the first look
        async for found in awatch(
            directory,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
        ):
            looks = 0 if found else looks + 1
            if found or looks >= RESCAN_SECONDS:
                looks = 0
                yield
            if not _is_at(watched, directory):
                return
    finally:
        stop.set()
        os.close(watched)


def _is_at(watched: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(watched), path.stat())
    except OSError:
        return False
