"""Standard streams inside a sandbox: one JSON object a line to stderr, and descriptors 0 to 2 never reused.

A plugin that closes stdout would make the next accepted connection descriptor 1, and every later `print` part
of somebody's HTTP answer. So a hole among them is plugged with /dev/null as soon as an action ends.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

MAX_LINE = 8192


class JsonLines(logging.Formatter):
    """A record as one line: time (UTC, RFC 3339), level, logger, message, requestId, and a traceback by itself."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MAX_LINE],
        }
        request_id = getattr(record, "requestId", "")
        if request_id:
            line["requestId"] = request_id
        text = json.dumps(line, ensure_ascii=False)
        if record.exc_info:
            # A traceback is for people: as plain lines after the record, its last line the exception itself.
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return text


def log_as_json() -> None:
    """Send all logging to stderr as JSON lines; a stream that is gone is nobody's exception."""
    logging.raiseExceptions = False
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[output], force=True)


def plug() -> None:
    """Open /dev/null in the place of any standard descriptor that was closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
