"""Whether a user who owns nothing can read what a plugin needs. By modes: access lists are not looked at.

A child that gives up root cannot pass a private home directory on its way to the interpreter. Found out before it is
started, that is one sentence with its remedy; found out afterwards, an exit code that says nothing.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from xcore.errors import WorkloadRejected

ROOT = Path(__file__).resolve().parents[2]
# What the runner imports beside the standard library and our own.
PACKAGES = ("msgspec", "uvicorn", "uvloop", "httptools")
_STATE = "the state directory and every directory above it need mode o+x"
_log = logging.getLogger("xcore.process")


def closed(path: Path, *, passed: bool = False) -> Path | None:
    """Give the first part of a path that another user cannot pass (directories) or read; None when all is open.

    `passed`: the path itself is a directory that need not be read either, only passed.
    """
    for way in dict.fromkeys((path.absolute(), path.resolve())):
        for part in reversed(way.parents):
            if not part.stat().st_mode & stat.S_IXOTH:
                return part
        needed = (stat.S_IXOTH if way.is_dir() else 0) | (0 if passed else stat.S_IROTH)
        if way.stat().st_mode & needed != needed:
            return way
    return None


def require(code: Sequence[Path], sockets: Path) -> None:
    """Raise WorkloadRejected, naming what to change, unless everybody can read what a child needs."""
    for what, remedy, path in _needed(code):
        _require(what, remedy, path)
    _require("the directory of its socket", _STATE, sockets, passed=True)


def _require(what: str, remedy: str, path: Path, *, passed: bool = False) -> None:
    try:
        part = closed(path, passed=passed)
    except OSError as error:
        raise WorkloadRejected(f"{what} cannot be read: {error.strerror}") from error
    if part is not None:
        # The sentence travels to clients, the path does not.
        _log.error("%s is closed to the user a plugin runs as: see the mode of %s", what, part)
        raise WorkloadRejected(f"plugins run as a user of their own here, who cannot read {what}: {remedy}")


def _needed(code: Sequence[Path]) -> Iterator[tuple[str, str, Path]]:
    install = "install it outside private directories, or open them (chmod o+x)"
    yield "the Python interpreter", install, Path(sys.executable)
    yield "the Python standard library", install, Path(os.__file__).parent
    config = Path(sys.prefix) / "pyvenv.cfg"
    if config.exists():
        yield "the virtual environment", install, config
    yield "the xcore packages", install, ROOT / "sandbox_image" / "runner.py"
    yield "the xcore packages", install, ROOT / "xcore" / "plugin" / "host.py"
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise WorkloadRejected(f"the package {name} is missing: install xcore-platform[sandbox]")
        yield f"the package {name}", install, Path(found.origin)
    for directory in code:
        yield "the copy of its code", _STATE, directory
