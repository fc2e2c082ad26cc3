"""What is declared and is no plugin of its own: a folder that cannot be read, a name that is taken. Each has a status."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xcore.clock import Clock
from xcore.errors import XcoreError
from xcore.status import Facts, build


class Misfits:
    """By folder. `refused(folder, error)` is called once for each new complaint."""

    def __init__(self, clock: Clock, refused: Callable[[str, XcoreError], None]) -> None:
        self._clock, self._refused = clock, refused
        self._statuses: dict[str, dict[str, Any]] = {}

    def replace(self, errors: Mapping[str, XcoreError], generations: Mapping[str, int]) -> None:
        """Make these the whole of them."""
        self._statuses = {
            folder: self._status(folder, error, generations[folder]) for folder, error in errors.items()
        }

    def get(self, folder: str) -> dict[str, Any] | None:
        """Give the status of one."""
        return self._statuses.get(folder)

    def __iter__(self) -> Iterator[str]:
        return iter(self._statuses)

    def __contains__(self, folder: str) -> bool:
        return folder in self._statuses

    def _status(self, folder: str, error: XcoreError, generation: int) -> dict[str, Any]:
        known = self._statuses.get(folder)
        facts = Facts(folder, generation, error, None, suspended=False, isolated=("Unknown", "NotProbed", ""))
        status = build(facts, self._clock.time(), known)
        if known != status:
            self._refused(folder, error)
        return status
