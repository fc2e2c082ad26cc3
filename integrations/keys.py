"""The administrator's key: 256 bits, shown once, kept as a SHA-256 hash. A random key needs no slow hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
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
        return AdminKey(_hash(given)), None
    path = state_dir / FILE
    try:
        if path.exists():
            return AdminKey(path.read_text("ascii").strip()), None
        made = PREFIX + secrets.token_urlsafe(32)
        write_private(path, f"{_hash(made)}\n".encode())
    except (OSError, ValueError) as error:
        raise StorageFull(f"the admin key's file {FILE} cannot be used: {error}") from error
    return AdminKey(_hash(made)), made


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
