"""What commands print: tables for people, JSON and YAML for programs, problems and progress on stderr.

Whatever a plugin or controller said is shown as plain text: no markup is read in it and control characters are
escaped, so it can neither colour nor move anything on a terminal.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.cli.exits import Stopped

PROGRESS_AFTER_SECONDS = 1.0
_UNBOUNDED = 10_000  # columns, where no terminal says otherwise: a pipe gets whole lines
_STYLES = {
    "True": "green",
    "ok": "green",
    "False": "red",
    "fail": "red",
    "warn": "yellow",
    "Unknown": "yellow",
}


Format = Literal["table", "wide", "json", "yaml"]
Brief = Literal["table", "json"]


def plain(text: object, keep: str = "") -> str:
    """The text with every control character escaped, except those in `keep`."""
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def line(text: object) -> None:
    """One line of result."""
    sys.stdout.write(f"{plain(text)}\n")
    sys.stdout.flush()


def note(text: object) -> None:
    """One line for a person, beside the result."""
    sys.stderr.write(f"{plain(text)}\n")
    sys.stderr.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    shown = Table(box=None, pad_edge=False, show_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(plain(cell), style=_STYLES.get(str(cell), "")) for cell in row))
    _console(sys.stdout).print(shown)


def data(value: Any, form: str = "json") -> None:
    """A document for programs."""
    if form == "yaml":
        sys.stdout.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    else:
        sys.stdout.write(f"{_json(value, indent=2)}\n")


def json_line(value: Any) -> None:
    sys.stdout.write(f"{_json(value)}\n")
    sys.stdout.flush()


def copy(chunks: Iterable[bytes], *, is_json: bool) -> None:
    """Pass a body on: byte for byte into a file or pipe, readable and harmless on a terminal."""
    if not sys.stdout.isatty():
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    elif is_json:
        _copy_json(b"".join(chunks))
    else:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for chunk in chunks:
            sys.stdout.write(plain(decoder.decode(chunk), keep="\n\t"))
            sys.stdout.flush()


def complain(stopped: Stopped) -> None:
    """Say why a command ends: `reason: detail`, the fields that are wrong, the id to look for in the logs."""
    note(f"{stopped.reason}: {stopped.detail}")
    for problem in stopped.problems:
        note(f"  {problem}")
    if stopped.request_id:
        note(f"  requestId: {stopped.request_id}")


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """A spinner on a terminal's stderr while the block takes longer than a second; nothing anywhere else."""
    console = _console(sys.stderr)
    if not console.is_terminal:
        yield
        return
    spinner = console.status(Text(plain(text)))
    timer = threading.Timer(PROGRESS_AFTER_SECONDS, spinner.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        spinner.stop()


def _console(file: Any) -> Console:
    terminal = file.isatty()
    return Console(
        file=file,
        width=None if terminal else _UNBOUNDED,
        force_terminal=terminal,
        no_color=None if terminal else True,
        markup=False,
        highlight=False,
        emoji=False,
    )


def _copy_json(body: bytes) -> None:
    try:
        data(json.loads(body))
    except (ValueError, RecursionError):
        sys.stdout.write(plain(body.decode(errors="replace"), keep="\n\t") + "\n")


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # json escapes the C0 controls; DEL, C1 and lone surrogates can only stand inside strings, too.
    return re.sub("[\x7f-\x9f\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)
