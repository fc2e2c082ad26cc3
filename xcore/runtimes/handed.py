"""Secrets on their way into one instance: files of its own, for it alone to read, gone when it goes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from xcore.errors import SecretNotFound
from xcore.instance_spec import SecretRef

# Every value wanted, by `name/key`; raises SecretNotFound. Blocks.
ReadSecrets = Callable[[Sequence[SecretRef]], Mapping[str, bytes]]


def no_secrets(wanted: Sequence[SecretRef]) -> Mapping[str, bytes]:
    """Serve where nobody keeps any."""
    if wanted:
        raise SecretNotFound(f"there is no secret {wanted[0].name}")
    return {}


def hand_over(values: Mapping[str, bytes], directory: Path, *, owner: tuple[int, int] | None) -> None:
    """Write each value to `directory/<name>/<key>`, for nobody to change; raises OSError.

    `owner`: the uid and gid that may read, for a controller that is root; None: whoever gets as far as the directory.
    """
    directory.mkdir(mode=0o700)
    for path, value in values.items():
        target = directory / path
        target.parent.mkdir(mode=0o700, exist_ok=True)
        target.write_bytes(value)
    for made in (*directory.rglob("*"), directory):  # the outermost last: until then nobody but us gets in
        mode = 0o555 if made.is_dir() else 0o444
        made.chmod(mode if owner is None else mode & 0o550)
        if owner is not None:
            os.chown(made, *owner)


class Handed:
    """The directories of all instances of an engine, below one that nobody else may enter; a mount needs no way in."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def give(
        self, instance: str, values: Mapping[str, bytes], *, owner: tuple[int, int] | None
    ) -> Path | None:
        """Make the instance's directory; None when there is nothing to hand over."""
        if not values:
            return None
        self._directory.mkdir(mode=0o700, exist_ok=True)
        made = self._directory / instance
        try:
            hand_over(values, made, owner=owner)
        except BaseException:
            self.take_back(instance)
            raise
        return made

    def take_back(self, instance: str) -> None:
        shutil.rmtree(self._directory / instance, ignore_errors=True)

    def sweep(self, instances: frozenset[str]) -> None:
        """Take back what instances have that are none of these."""
        if self._directory.is_dir():
            for left in self._directory.iterdir():
                if left.name not in instances:
                    self.take_back(left.name)
