"""Standard streams inside a sandbox: one JSON object a line to stderr, and descriptors 0 to 2 never reused.

A plugin that closes stdout would make the next accepted connection descriptor 1, and every later `print` part
of somebody's HTTP answer. So a hole among them is plugged with /dev/null as soon as an action ends, and a
connection that got one of them all the same is refused (see the runner).
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from types import TracebackType

MAX_LINE = 8192
MAX_TRACEBACK = 65536
STANDARD = range(3)


class JsonLines(logging.Formatter):
    """A record as one line: time (UTC, RFC 3339), level, logger, message, requestId, and a traceback by itself."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record)[:MAX_LINE],
        }
        request_id = getattr(record, "requestId", "")
        if request_id:
            line["requestId"] = str(request_id)
        text = json.dumps(line, ensure_ascii=False)
        if record.exc_info:
            # A traceback is for people: as plain lines after the record.
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return text

    def formatException(  # noqa: N802  the name logging gave it
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """The traceback; its last line always the exception itself, which is what a status shows."""
        text = super().formatException(ei)
        if len(text) > MAX_TRACEBACK:
            text = f"{text[: MAX_TRACEBACK // 2]}\n...\n{text[-MAX_TRACEBACK // 2 :]}"
        own = own_line(ei[1]) if ei[1] is not None else ""
        return text if text.endswith(own) else f"{text}\n{own}"


def own_line(error: BaseException) -> str:
    """`ValueError: what it said`, in one line; of a group, its first exception's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = str(error).strip().partition("\n")[0][:MAX_LINE]
    name = type(error).__qualname__
    return f"{name}: {said}" if said else name


def log_as_json() -> None:
    """Send all logging to stderr as JSON lines; a stream that is gone is nobody's exception.

    Through a descriptor of its own: a plugin that closes stderr does not silence what is said about it.
    """
    logging.raiseExceptions = False
    stream = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    output = logging.StreamHandler(stream)
    output.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[output], force=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a plugin prints is seen when it is printed, whatever characters it holds.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")


def plug() -> None:
    """Open /dev/null in the place of any standard descriptor that was closed."""
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            replace(descriptor)


def replace(descriptor: int) -> None:
    """Make a descriptor /dev/null, whatever it is now."""
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # the arguments do not fit: better said badly than not at all
        return f"{record.msg} {record.args}"
