"""Kills this process at its n-th change of the file system after a file appears: what a power cut may do, at every step."""

import os
import signal

_step = int(os.environ.get("CRASH_AT", "0"))
_armed = os.environ.get("CRASH_WHEN", "")
_seen = 0


def _counted(function):
    def call(*args, **kwargs):
        global _seen  # noqa: PLW0603  one process, one count
        if _step and os.path.lexists(_armed):
            _seen += 1
            if _seen == _step:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call


for _name in ("rename", "replace", "fsync", "unlink", "rmdir"):
    setattr(os, _name, _counted(getattr(os, _name)))
