"""How a command ends: the exit codes, and the one table that gives a code to a problem."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from xcore.errors import Problem


class Exit(enum.IntEnum):
    DONE = 0
    FAILED = 1  # the thing that was asked for failed
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5


# By reason where a status alone says too little, else by status; whatever is in neither failed.
_CODES: dict[str | int, Exit] = {
    "InvalidArguments": Exit.USAGE,
    "Draining": Exit.UNREACHABLE,
    400: Exit.USAGE,
    401: Exit.REFUSED,
    403: Exit.REFUSED,
    404: Exit.NOT_FOUND,
    405: Exit.REFUSED,
    409: Exit.REFUSED,
    412: Exit.REFUSED,
    413: Exit.REFUSED,
    414: Exit.REFUSED,
    422: Exit.REFUSED,
    429: Exit.REFUSED,
    431: Exit.REFUSED,
}


def code_for(status: int, reason: str) -> Exit:
    return _CODES.get(reason, _CODES.get(status, Exit.FAILED))


class Stopped(Exception):
    """Ends a command: `reason: detail` and the wrong fields go to stderr, `code` to the shell."""

    def __init__(self, code: Exit, reason: str, detail: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(detail)
        self.code, self.reason, self.detail, self.problems = code, reason, detail, tuple(problems)
        self.request_id = ""
