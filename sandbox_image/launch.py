"""Bounds this process, then becomes the runner: `python -m sandbox_image.launch JSON` (the `process` runtime only).

Told by its one argument: `parent` (the controller's pid), `uid` (the user this must already be), `limits`
(RLIMIT_* by short name, soft and hard alike). It waits for one byte on standard input, sent once the controller
has moved it into its control group; an end of file instead means that the controller is gone. Standard library
only. Exit code 71 when anything cannot be had: it never runs a plugin with less than what was asked for.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

EXIT_NOT_BOUNDED = 71
RUNNER = "sandbox_image.runner"
# Options of prctl(2).
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38


def main() -> int:
    """Returns only when something cannot be had."""
    told = json.loads(sys.argv[1])
    if not os.read(0, 1):
        return _refuse("the controller is gone")
    _detach_stdin()
    if set(os.getresuid()) != {told["uid"]}:
        return _refuse("not the user this should run as")
    for name, value in told["limits"].items():
        _limit(getattr(resource, f"RLIMIT_{name}"), value)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    # After the change of user, which clears it; and checked, for the parent may have died before.
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != told["parent"]:
        return _refuse("the controller is gone")
    return os.execv(sys.executable, [sys.executable, "-P", "-m", RUNNER])  # noqa: S606  no shell is the point


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    # A limit that is already tighter stays.
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (bound, bound))


def _detach_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _refuse(why: str) -> int:
    sys.stderr.write(f"launch: {why}\n")
    return EXIT_NOT_BOUNDED


if __name__ == "__main__":
    sys.exit(main())
