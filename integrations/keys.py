"""The administrator's key: 256 bits, shown once, kept as a SHA-256 hash. A random key needs no slow hash."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from xcore.errors import StorageFull, XcoreError
from xcore.store import write_private

FILE = "admin-key.sha256"
PREFIX = "xck_"


class Unauthenticated(XcoreError):
    reason = "Unauthenticated"
    component = "client"


class AdminKey:
    """Knows the hash of the one key there is."""

    def __init__(self, digest: str) -> None:
        self._digest = bytes.fromhex(digest)

    def accepts(self, key: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(hashlib.sha256(key).digest(), self._digest)


def open_admin_key(state_dir: Path, given: str | None) -> tuple[AdminKey, str | None]:
    """Give the key, and its text when it was made just now (to be shown once).

    A given one (from the settings) is used and not stored. Raises StorageFull.
    """
    if given is not None:
        if not given.isascii() or not given.isprintable() or " " in given:
            raise XcoreError(
                "the admin key must be printable ASCII without spaces; set XCORE_ADMIN_KEY to another"
            )
        return AdminKey(_hash(given)), None
    path = state_dir / FILE
    try:
        if path.exists():
            _demand_ours(path)
            return AdminKey(path.read_text("ascii").strip()), None
        made = PREFIX + secrets.token_urlsafe(32)
        write_private(path, f"{_hash(made)}\n".encode())
    except (OSError, ValueError) as error:
        raise StorageFull(f"the admin key's file {FILE} cannot be used: {error}") from error
    return AdminKey(_hash(made)), made


def _demand_ours(path: Path) -> None:
    """A hash that somebody else could have put there would let them in."""
    found = path.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077 or not stat.S_ISREG(found.st_mode):
        raise StorageFull(f"{path.name} in the state directory must be a file of this user alone (mode 0600)")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
