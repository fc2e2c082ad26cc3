"""Old folders for the loader: see `xcore.loader.Format`."""

from __future__ import annotations

from pathlib import Path

from integrations.legacy.draft import Draft
from integrations.legacy.old import is_old, read_old
from integrations.legacy.translate import translate
from xcore.manifest import Manifest


class LegacyFolders:
    """`trusted`: names that may run in the controller, as its operator listed them."""

    def __init__(self, trusted: frozenset[str] = frozenset()) -> None:
        self._trusted = trusted

    def claims(self, folder: Path, text: bytes | None) -> bool:
        return is_old(folder, text)

    def manifest(self, folder: Path) -> Manifest:
        return self.draft(folder).manifest()

    def draft(self, folder: Path) -> Draft:
        """Tell what becomes of each field; raises InvalidSpec, InvalidBundle, OSError for what cannot be read."""
        return translate(read_old(folder), trusted=self._trusted)
