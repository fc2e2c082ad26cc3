"""The last output of one instance, in memory: bounded, never blocking whoever writes, followed by whoever reads.

Bytes are kept as they came and made into lines only when somebody reads: a flood costs a copy, not a parser.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator

from xcore.clock import rfc3339
from xcore.runtimes.text import Lines
from xcore.workload import LogLine

MAX_BYTES = 2**20
MAX_LINES = 10_000
PIECE = 4096


class LogRing:
    """Call `put` and `close` from any thread; read on the event loop it was made on."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = self._lines = self._first = (
            0  # `_first`: how many pieces were dropped before the oldest one kept
        )
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._told = self._closed = False

    def put(self, piece: bytes) -> None:
        at, piece = time.time(), piece[-MAX_BYTES:]
        with self._lock:
            for start in range(0, len(piece), PIECE):
                part = piece[start : start + PIECE]
                self._pieces.append((at, part))
                self._size += len(part)
                self._lines += _weight(part)
            while self._size > MAX_BYTES or self._lines > MAX_LINES:
                _, gone = self._pieces.popleft()
                self._size -= len(gone)
                self._lines -= _weight(gone)
                self._first += 1
            self._tell()

    def close(self) -> None:
        """Nothing more will come."""
        with self._lock:
            self._closed = True
            self._tell()

    async def read(self, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """Yield the last `lines` lines, then, with `follow`, what comes until it is closed."""
        splitter = Lines()
        pieces, position, closed = self._since(0)
        kept: deque[LogLine] = deque(maxlen=min(lines, MAX_LINES))
        for at, piece in pieces:
            kept.extend(self._line(at, text) for text in splitter.feed(piece))
            await asyncio.sleep(0)  # ten thousand lines are worth a pause or two
        last = pieces[-1][0] if pieces else 0.0
        if closed or not follow:
            kept.extend(self._line(last, text) for text in splitter.end())
        for line in kept:
            yield line
        while follow and not closed:
            news = self._news
            pieces, position, closed = self._since(position)
            for last, piece in pieces:
                for text in splitter.feed(piece):
                    yield self._line(last, text)
            if closed:
                for text in splitter.end():
                    yield self._line(last, text)
            elif not pieces:
                await news.wait()

    def _since(self, position: int) -> tuple[list[tuple[float, bytes]], int, bool]:
        with self._lock:
            skip = max(0, position - self._first)
            pieces = list(self._pieces)[skip:]
            return pieces, self._first + len(self._pieces), self._closed

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        with self._lock:
            self._told = False
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _line(self, at: float, text: str) -> LogLine:
        return LogLine(rfc3339(at), text, self._instance)


def _weight(piece: bytes) -> int:
    """Count its lines; part of one counts too, or many tiny writes would never be dropped."""
    return max(1, piece.count(b"\n"))
