"""What is wanted of the plugins that came through the API, with who wanted it, when and how: values, and the seam to where
they are written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from xcore.bundle import Snapshots

KEPT_REVISIONS = 10


@dataclass(frozen=True, slots=True)
class Kept:
    """One revision: its manifest as data, the digest of its code ("" with an image), and who sent it, when and how.

    `how`: create, update, patch, rollback, suspend or resume. `request`: what to know the request by when it comes again.
    """

    number: int
    manifest: Mapping[str, Any]
    digest: str
    by: str
    at: str
    how: str
    note: str = ""
    request: str = ""


@dataclass(frozen=True, slots=True)
class Shelved:
    """One plugin. `uid` tells it from an earlier one of the same name; the last revision is the one that is wanted."""

    name: str
    uid: str
    revisions: tuple[Kept, ...]

    @property
    def newest(self) -> Kept:
        return self.revisions[-1]

    @property
    def version(self) -> str:
        """Another one after every change of what is wanted."""
        return f"{self.uid}-{self.newest.number}"


class Overtaken(Exception):
    """It is another by now than it was when it was read: read it again."""


class Ledger(Protocol):
    """Every plugin that came through the API. One order at a time is carried out here; elsewhere others may be.

    `read` gives one as it is now, None where there is none. `put` makes another revision of it what is wanted, and `delete`
    lets go of it: whole or not at all, from what was read (`known`; None: it was not there); they raise Overtaken. What they
    did is declared when they return. `version` tells what `read` would, from memory ("" where there is none). `holds` tells
    whether the code of a revision is there. `wait_gone` is False when something kept of it is left after `seconds`.
    `declares_mode`: a plugin is suspended by its manifest. `collect`: see `Collector`.
    """

    snapshots: Snapshots
    declares_mode: bool

    async def read(self, name: str) -> Shelved | None: ...
    async def put(self, name: str, kept: Kept, known: Shelved | None) -> None: ...
    async def delete(self, name: str, known: Shelved) -> None: ...
    async def holds(self, name: str, digest: str) -> bool: ...
    async def wait_gone(self, name: str, seconds: float) -> bool: ...
    def version(self, name: str) -> str: ...
    def collect(self, used: frozenset[str]) -> object: ...
