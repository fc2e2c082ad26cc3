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
    pump = _Pump(source, errors)
    threading.Thread(target=pump.run, name="stream", daemon=True).start()
    try:
        while (item := await pump.queue.get()) is not _END:
            pump.room.release()
            yield item
    finally:
        pump.leave()


class _Pump:
    """What the thread does; made on the event loop's thread, which `put` hands the items to."""

    def __init__(self, source: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.room = threading.Semaphore(QUEUE)
        self._source, self._errors = source, errors
        self._loop = asyncio.get_running_loop()
        self._left = threading.Event()
        self._opened: list[Any] = []

    def run(self) -> None:
        try:
            self._read()
        except self._errors:
            pass
        except Exception:
            # Closing a stream under its reader surfaces as many kinds of error; only an unasked one counts.
            if not self._left.is_set():
                raise
        finally:
            self._put(_END)

    def _read(self) -> None:
        stream = self._source()
        self._opened.append(stream)
        if self._left.is_set():  # left while it was opened: nobody else closes it
            stream.close()
            return
        for item in stream:
            if self._left.is_set():
                return
            self._put(item)

    def _put(self, item: object) -> None:
        self.room.acquire()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self.queue.put_nowait, item)

    def leave(self) -> None:
        self._left.set()
        self.room.release(QUEUE)
        for stream in self._opened:
            stream.close()
