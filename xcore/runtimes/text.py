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
        for line in whole:
            for start in range(0, max(len(line), 1), MAX_LINE):
                yield printable(line[start : start + MAX_LINE])
        while len(self._rest) > MAX_LINE:
            yield printable(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]

    def end(self) -> Iterator[str]:
        if self._rest:
            yield printable(self._rest)
            self._rest = b""


def printable(raw: bytes) -> str:
    """Decode as UTF-8; whatever could move a cursor or forge a line becomes an escape."""
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text)
