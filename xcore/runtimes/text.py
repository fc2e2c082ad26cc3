"""Bytes a plugin wrote, as lines a person may read: split, bounded, control characters made visible."""

from __future__ import annotations

from collections.abc import Iterator

MAX_LINE = 8192


class Lines:
    """Feed it pieces, take whole lines; a line longer than 8 KiB is cut into several."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[str]:
        data = self._rest + piece
        *whole, self._rest = data.split(b"\n")
        # What is left has its final length before anything is given: a reader may stop half-way.
        rest, over = self._rest, len(self._rest) // MAX_LINE * MAX_LINE
        self._rest = rest[over:]
        for line in whole:
            yield from _cut(line)
        if over:
            yield from _cut(rest[:over])

    def end(self) -> Iterator[str]:
        if self._rest:
            yield printable(self._rest)
            self._rest = b""


def _cut(line: bytes) -> Iterator[str]:
    return (printable(line[start : start + MAX_LINE]) for start in range(0, max(len(line), 1), MAX_LINE))


def printable(raw: bytes) -> str:
    """Decode as UTF-8; whatever could move a cursor or forge a line becomes an escape; cut at 8 KiB again."""
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r")
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text)
    return text[:MAX_LINE]
