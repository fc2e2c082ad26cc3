"""Keys as texts: 256 bits, shown once, kept as a SHA-256 hash (a random key needs no slow one); the administrator's first."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path

from integrations.grants import Grant, Role
from xcore.errors import StorageFull, XcoreError
from xcore.store import write_private

FILE = "admin-key.sha256"
PREFIX = "xck_"
ADMIN = "admin"  # the id of the first key


def made() -> str:
    """Make a key."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def open_admin_key(state_dir: Path, given: str | None) -> tuple[Grant, str | None]:
    """Give what the administrator's key allows, and its text when it was made just now (to be shown once).

    A given one (from the settings) is used and not stored. Raises StorageFull.
    """
    if given is not None:
        if not given.isascii() or not given.isprintable() or " " in given:
            raise XcoreError(
                "the admin key must be printable ASCII without spaces; set XCORE_ADMIN_KEY to another"
            )
        return _grant(digest(given)), None
    path = state_dir / FILE
    try:
        if path.exists():
            _demand_ours(path)
            return _grant(bytes.fromhex(path.read_text("ascii"))), None
        key = made()
        write_private(path, f"{digest(key).hex()}\n".encode())
    except (OSError, ValueError) as error:
        raise StorageFull(f"the admin key's file {FILE} cannot be used: {error}") from error
    return _grant(digest(key)), key


def _demand_ours(path: Path) -> None:
    """A hash that somebody else could have put there would let them in."""
    found = path.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077 or not stat.S_ISREG(found.st_mode):
        raise StorageFull(f"{path.name} in the state directory must be a file of this user alone (mode 0600)")


def _grant(kept: bytes) -> Grant:
    return Grant(ADMIN, Role.ADMIN, kept)
