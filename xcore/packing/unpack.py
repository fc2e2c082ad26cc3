"""From a lock to a tree of files for one Python and platform: byte for byte the same, whoever makes it.

Of what uv installs, only what a plugin can import is kept: no scripts, no bytecode, nothing an installer noted down.
Refused: links and devices, names that are not plain, packages that would stand in the place of the sandbox's own, and
more than may be.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence, Set as AbstractSet
from pathlib import Path

from xcore.errors import DependenciesUnresolved, IndexUnavailable, InvalidBundle
from xcore.packing import uv
from xcore.packing.lock import Lock
from xcore.packing.target import Target

MAX_FILES = 20_000
MAX_BYTES = 512 * 2**20
_TOP_LEFT_OUT = frozenset({"bin", ".lock"})
# What an installer writes down for itself; RECORD lists these and the scripts.
_NOTES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})
# What uv also says offline, of a package that has a marker: every one in a lock has.
_NOWHERE = re.compile(r"there is no version of (\S+)")


def unpack(lock: Lock, target: Target, tree: Path, reserved: AbstractSet[str], job: uv.Job) -> None:
    """Make `tree`, from uv's cache where it has everything, else from the index.

    `reserved`: top-level modules that are the sandbox's own.
    """
    requirements = tree.parent / "requirements.txt"
    requirements.write_text(lock.requirements)
    job.say(f"unpacking {len(lock.pins)} packages for Python {target.python}")
    try:
        _install(requirements, target, tree, ["--offline"], job)
    except (IndexUnavailable, DependenciesUnresolved, InvalidBundle):
        # What the cache knows may be old, or not all there.
        _fetch(requirements, target, tree, job)
    clean(tree, reserved)


def _fetch(requirements: Path, target: Target, tree: Path, job: uv.Job) -> None:
    try:
        _install(requirements, target, tree, [], job)
    except DependenciesUnresolved as error:
        missing = _NOWHERE.search(error.detail)
        if missing is None:
            raise
        # It was there when it was locked, so this is no conflict.
        raise IndexUnavailable(
            f"the package index cannot be reached, or has {missing[1]} no more; uv's cache does not have it"
        ) from error


def _install(requirements: Path, target: Target, tree: Path, options: Sequence[str], job: uv.Job) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    uv.run(
        job,
        *("pip", "install", "--require-hashes", "--no-deps", "--link-mode", "copy"),
        *("--python", sys.executable, "--python-version", target.python),
        *("--python-platform", target.platform, "--target", str(tree)),
        *("--requirements", str(requirements)),
        *options,
        cwd=tree.parent,
    )


def clean(tree: Path, reserved: AbstractSet[str]) -> None:
    """Leave out what is nobody's to import, refuse what may not be there, make the modes plain."""
    tree.chmod(0o755)
    for name in _TOP_LEFT_OUT:
        _remove(tree / name)
    for item in sorted(tree.iterdir()):
        if item.name.partition(".")[0] in reserved:
            raise InvalidBundle(f"a package brings {item.name}, which is the sandbox's own")
    files = total = 0
    for path, status in _walk(tree):
        files, total = files + 1, total + status.st_size
        if files > MAX_FILES:
            raise InvalidBundle(f"the dependencies unpack to more than {MAX_FILES:,} files")
        if total > MAX_BYTES:
            raise InvalidBundle(f"the dependencies unpack to more than {MAX_BYTES // 2**20} MiB")
        path.chmod(0o755 if status.st_mode & 0o111 else 0o644)


def _walk(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(directory) as found:
        items = sorted(found, key=lambda item: item.name)
    for item in items:
        path, status = Path(item.path), item.stat(follow_symlinks=False)
        if not item.name.isprintable():
            raise InvalidBundle("a package holds a file whose name is not plain")
        if item.name == "__pycache__" or item.name.endswith(".pyc") or _is_note(path):
            _remove(path)
        elif stat.S_ISDIR(status.st_mode):
            path.chmod(0o755)
            yield from _walk(path)
        elif stat.S_ISREG(status.st_mode):
            yield path, status
        else:
            raise InvalidBundle(f"a package holds {item.name}, which is a link, a device or a pipe")


def _is_note(path: Path) -> bool:
    return path.name in _NOTES and path.parent.name.endswith(".dist-info")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
