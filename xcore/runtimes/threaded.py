"""A blocking stream read in a thread of its own, as an async iterator: bounded, and closed when it is left."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

QUEUE = 1024
_END = object()


async def follow(source: Callable[[], Any], errors: tuple[type[Exception], ...]) -> AsyncGenerator[Any, None]:
    """Yield what the stream made by `source()` gives; ends when it ends or fails with one of `errors`.

    The stream needs a `close()` that ends a read in another thread. A reader that does not keep up slows the
    thread down, never this process's memory.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Any] = asyncio.Queue()
    room = threading.Semaphore(QUEUE)
    left = threading.Event()
    opened: list[Any] = []

    def put(item: object) -> None:
        room.acquire()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def pump() -> None:
        try:
            stream = source()
            opened.append(stream)
            for item in stream:
                if left.is_set():
                    break
                put(item)
        except errors:
            pass
        except Exception:
            # Closing a stream under its reader surfaces as many kinds of error; only an unasked one counts.
            if not left.is_set():
                raise
        finally:
            put(_END)

    threading.Thread(target=pump, name="stream", daemon=True).start()
    try:
        while (item := await queue.get()) is not _END:
            room.release()
            yield item
    finally:
        left.set()
        room.release(QUEUE)
        for stream in opened:
            stream.close()
