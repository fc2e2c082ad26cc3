"""Secrets of the operator, as files: `<directory>/<name>/<key>`. Plugins name them, the engines hand them over.

A value never travels in a workload, a label, an environment or a record: an engine reads it when an instance starts.
What of them enters a revision is a keyed hash (HMAC-SHA-256, RFC 2104), so that a revision tells a change and nothing
else. Refused: what others may write, more than 1 MiB in a secret (the bound Kubernetes has), names that are no names.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from xcore.errors import SecretNotFound
from xcore.fields import KEY
from xcore.instance_spec import SecretRef
from xcore.loader import Declared
from xcore.sources import Prepared
from xcore.store import Store

MAX_BYTES = 1024 * 1024
MAX_KEYS = 64
RECHECK_SECONDS = 15.0


class Vault:
    """Reads secrets, and watches them as a `Preparation`: a changed one rolls the plugins that name it.

    `pepper` keys the hash; keep it as long as revisions are kept.
    """

    fresh_seconds: float | None = RECHECK_SECONDS

    def __init__(self, directory: Path, pepper: bytes) -> None:
        self._directory, self._pepper = directory, pepper

    def read(self, wanted: Sequence[SecretRef]) -> dict[str, bytes]:
        """Give every value wanted, by `name/key`; raises SecretNotFound. Blocks."""
        return {path: value for ref in wanted for path, value in self._read(ref)}

    def key(self, declared: Declared) -> str | None:
        wanted = declared.manifest.spec.secrets if declared.manifest else ()
        return "\n".join(f"{ref.name}/{ref.key or ''}" for ref in wanted) or None

    async def prepare(self, declared: Declared, say: Callable[[str], None]) -> Prepared:  # noqa: ARG002  it is quick
        assert declared.manifest is not None
        values = await asyncio.to_thread(self.read, declared.manifest.spec.secrets)
        return Prepared(seal=self._seal(values))

    def _seal(self, values: Mapping[str, bytes]) -> str:
        sealed = hmac.new(self._pepper, digestmod=hashlib.sha256)
        for path, value in sorted(values.items()):
            sealed.update(f"{path} {len(value)}\n".encode())
            sealed.update(value)
        return sealed.hexdigest()

    def _read(self, ref: SecretRef) -> Iterator[tuple[str, bytes]]:
        folder = self._directory / ref.name
        try:
            keys = [ref.key] if ref.key else sorted(path.name for path in folder.iterdir() if path.is_file())
            if len(keys) > MAX_KEYS:
                raise SecretNotFound(
                    f"the secret {ref.name} has {len(keys)} keys; at most {MAX_KEYS} are read"
                )
            left = MAX_BYTES
            for key in keys:
                if not re.fullmatch(KEY, key):
                    continue  # an editor's leftovers, or what a mount keeps beside its keys
                value = _value(folder / key, left)
                left -= len(value)
                yield f"{ref.name}/{key}", value
        except FileNotFoundError:
            raise SecretNotFound(
                f"there is no secret {ref.name}" + (f" with the key {ref.key}" if ref.key else "")
            ) from None
        except OSError as error:
            raise SecretNotFound(f"the secret {ref.name} cannot be read: {error.strerror}") from error


def open_vault(state_dir: Path, store: Store) -> Vault:
    """Open the one of a controller: `<state>/secrets`, made empty and closed to others; the pepper is kept in the store."""
    directory = state_dir / "secrets"
    directory.mkdir(mode=0o700, exist_ok=True)
    kept = store.read("index", "pepper")
    if kept is None:
        kept = {"key": secrets.token_hex(32)}
        store.write("index", "pepper", kept)
    return Vault(directory, bytes.fromhex(kept["key"]))


def _value(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
            raise SecretNotFound(
                f"others may write to the secret {path.parent.name}/{path.name}: chmod o-w it"
            )
        value = file.read(limit + 1)
    if len(value) > limit:
        raise SecretNotFound(f"the secret {path.parent.name} holds over {MAX_BYTES} bytes")
    return value
