"""Tracebacks as their author wants them: from the first frame of his own code on, with paths of his own folder."""

from __future__ import annotations

import re
from pathlib import Path

_HEAD = "Traceback (most recent call last):"
_FRAME = "  File "
# Where a plugin's code lies: in a container, and in a child process's snapshot.
_CODE = re.compile(r'File "(?:/plugin|/[^"]*/snapshots/[0-9a-f]{64})/([^"]*)"')


class OwnFrames:
    """Fed line by line; what is no traceback passes through."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._inside = self._skipping = False

    def feed(self, line: str) -> list[str]:
        """Give what is to be shown for this line: itself, with the author's path, or nothing."""
        if line == _HEAD:
            self._inside = self._skipping = True
            return [line]
        if not self._inside:
            return [self._mapped(line)]
        if line.startswith(_FRAME) and _CODE.search(line):
            self._skipping = False
        elif not line.startswith("  "):
            self._inside = False  # the exception itself
            return [line]
        return [] if self._skipping else [self._mapped(line)]

    def _mapped(self, line: str) -> str:
        return _CODE.sub(lambda match: f'File "{self._folder}/{match[1]}"', line)


def own_frames(lines: list[str], folder: Path) -> list[str]:
    """Give the lines with every traceback in them made short."""
    frames = OwnFrames(folder)
    return [shown for line in lines for shown in frames.feed(line)]


def last_traceback(lines: list[str], folder: Path) -> list[str]:
    """Give the last traceback with its exception, and those it was caused by; nothing where there is none."""
    heads = [number for number, line in enumerate(lines) if line == _HEAD]
    if not heads:
        return []
    first = heads[-1]
    for number in reversed(heads[:-1]):
        between = lines[number:first]
        if not any(_CAUSED.match(line) for line in between):
            break
        first = number
    return own_frames(lines[first:], folder)


_CAUSED = re.compile(r"(During handling of|The above exception was)")
