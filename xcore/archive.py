"""Archives that come through the API: tar.gz or zip, read by rules of our own into a folder of their own.

Whole or not at all: an archive with anything in it that may not be there leaves nothing behind. Only files and folders
are made, below the one folder that is named, with names that mean the same on every file system.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from xcore import untar, unzip
from xcore.bundle import MANIFEST
from xcore.errors import InvalidBundle, StorageFull
from xcore.member import Bounds, Member, Names, refused

_FULL = {28, 122}  # ENOSPC, EDQUOT


def unpack(file: BinaryIO, into: Path) -> Path:
    """Unpack into a new folder `into`; returns the plugin's root in it. Raises InvalidBundle, StorageFull.

    The root is the archive's own, or its one folder where only that one holds `plugin.yaml` (as archives of a whole
    repository do). Blocks: call it in a thread.
    """
    try:
        into.mkdir(mode=0o700)
        for path, member in _members(file):
            _write(into / path, member)
        return _root(into)
    except OSError as error:
        shutil.rmtree(into, ignore_errors=True)
        if error.errno in _FULL:
            raise StorageFull("no room in the state directory for what the archive holds") from error
        raise
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise


def _members(file: BinaryIO) -> Iterator[tuple[str, Member]]:
    bounds, names = Bounds(file.seek(0, os.SEEK_END)), Names()
    file.seek(0)
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        found = untar.members(file, bounds)
    elif magic in {b"PK\x03\x04", b"PK\x05\x06"}:
        found = unzip.members(file, bounds)
    else:
        raise InvalidBundle("the archive is neither a tar.gz nor a zip")
    for member in found:
        yield names.path(member), member


def _write(target: Path, member: Member) -> None:
    if member.is_folder:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, 0o700 if member.executable else 0o600), "wb") as out:
        for piece in member.pieces:
            out.write(piece)
        if out.tell() != member.size:
            raise refused(member.name, "does not have the size it says")


def _root(unpacked: Path) -> Path:
    with os.scandir(unpacked) as found:
        entries = list(found)
    if not entries:
        raise InvalidBundle("the archive is empty")
    only = Path(entries[0].path)
    if len(entries) == 1 and entries[0].is_dir(follow_symlinks=False) and (only / MANIFEST).is_file():
        return only
    return unpacked
