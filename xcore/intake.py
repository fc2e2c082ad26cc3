"""Plugins made, changed and removed through the API. One order at a time becomes what is wanted, whole or not at all.

Refused, with nothing changed: what may not run, a trusted plugin, a name that a folder has, an order whose condition
(`If-Match`) no longer holds. An order that was carried out and comes again with the same mark is not carried out twice.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xcore.clock import Clock, SystemClock, rfc3339
from xcore.errors import (
    Conflict,
    InvalidManifest,
    PluginNotFound,
    PreconditionFailed,
    Problem,
    RevisionNotFound,
    XcoreError,
)
from xcore.manager import Manager
from xcore.manifest import from_dict
from xcore.parcel import Offer, Parcel, manifest_of, offer, open_parcel
from xcore.shelf import Kept, Shelf, Shelved, demand_untrusted

_log = logging.getLogger("xcore.intake")


@dataclass(frozen=True, slots=True)
class Terms:
    """Who orders, and on which terms. `match`: the versions it may be at ("*": any); `absent`: it must not be there."""

    by: str
    note: str = ""
    mark: str = ""
    match: frozenset[str] | None = None
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order. `created`: the name is new; `changed`: it makes a difference."""

    name: str
    created: bool = False
    changed: bool = True


class Intake:
    """`hand_over` returns when the manager has heard of what is wanted now. All calls are on the event loop's thread."""

    def __init__(
        self,
        shelf: Shelf,
        manager: Manager,
        *,
        hand_over: Callable[[], Awaitable[None]],
        staging: Path,
        clock: Clock | None = None,
    ) -> None:
        self._shelf, self._manager = shelf, manager
        self._hand_over, self._clock = hand_over, clock or SystemClock()
        self._one_at_a_time = asyncio.Lock()
        self.staging = staging
        shutil.rmtree(staging, ignore_errors=True)  # what a killed controller was unpacking

    # -- orders -------------------------------------------------------------------------------------------------

    async def create(self, parcel: Parcel, terms: Terms) -> Outcome:
        """Make a plugin whose name is new; raises Conflict when it is not."""
        await self._awake()
        made = await self._opened(parcel)
        name = made.manifest.metadata.name
        async with self._one_at_a_time:
            if self._is_done(name, terms):
                return Outcome(name, created=True, changed=False)
            if self._known(name) is not None:
                raise Conflict(f"{name} exists already; PUT or PATCH changes it")
            outcome = await self._commit(made, "create", terms)
        return await self._told(outcome)

    async def replace(self, name: str, parcel: Parcel, terms: Terms) -> Outcome:
        """Make it, or give it another manifest and code."""
        await self._awake()
        self._demand(self._known(name), terms)
        made = await self._opened(parcel)
        async with self._one_at_a_time:
            known = self._known(name)
            self._demand(known, terms)
            outcome = await self._commit(_named(made, name), "update" if known else "create", terms)
        return await self._told(outcome)

    async def patch(self, name: str, changes: Any, terms: Terms) -> Outcome:
        """Change it by a JSON merge patch (RFC 7396) of its manifest."""
        await self._awake()
        async with self._one_at_a_time:
            known = self._existing(name)
            self._demand(known, terms)
            manifest = manifest_of((merged(dict(known.newest.manifest), changes), {}))
            outcome = await self._commit(_named(offer(manifest), name), "patch", terms)
        return await self._told(outcome)

    async def rollback(self, name: str, number: int, terms: Terms) -> Outcome:
        """Want again what a kept revision says, as a new revision."""
        await self._awake()
        async with self._one_at_a_time:
            known = self._existing(name)
            if self._is_done(name, terms):
                return Outcome(name, changed=False)
            self._demand(known, terms)
            kept = next((each for each in known.revisions if each.number == number), None)
            if kept is None:
                there = ", ".join(str(each.number) for each in known.revisions)
                raise RevisionNotFound(f"{name} has no revision {number}; there are {there}")
            terms = replace(terms, note=terms.note or f"to revision {number}")
            outcome = await self._commit(
                Offer(from_dict(dict(kept.manifest)), kept.digest), "rollback", terms
            )
        return await self._told(outcome)

    async def delete(self, name: str, terms: Terms) -> None:
        """Want it no more. Its instances go in the background, its code when nobody uses it."""
        await self._awake()
        async with self._one_at_a_time:
            self._demand(self._existing(name), terms)
            await asyncio.to_thread(self._shelf.delete, name)
        await self._tell()

    def revisions(self, name: str) -> list[Kept]:
        """The kept revisions, oldest first; the last is what is wanted."""
        return list(self._existing(name).revisions)

    def version(self, name: str) -> str:
        """Another one after every change of what is wanted; of a folder's plugin, its generation."""
        known = self._shelf.get(name)
        return known.version if known else str(self._manager.get(name)["metadata"]["generation"])

    # -- steps --------------------------------------------------------------------------------------------------

    async def _awake(self) -> None:
        """Before the first look at the plugins directory nobody knows which names its folders have."""
        if not self._manager.synced:
            await self._hand_over()

    async def _opened(self, parcel: Parcel) -> Offer:
        return await asyncio.to_thread(open_parcel, parcel, self._shelf.snapshots, self.staging)

    def _known(self, name: str) -> Shelved | None:
        """What the shelf has under the name; raises Conflict where a folder has it."""
        known, folder = self._shelf.get(name), self._manager.folder_of(name)
        if known is None and folder is not None:
            raise Conflict(f"{name} lives in the folder {folder} of the plugins directory; change it there")
        return known

    def _existing(self, name: str) -> Shelved:
        known = self._known(name)
        if known is None:
            raise PluginNotFound(f"there is no plugin {name!r}")
        return known

    def _is_done(self, name: str, terms: Terms) -> bool:
        known = self._shelf.get(name)
        return bool(terms.mark and known and any(kept.request == terms.mark for kept in known.revisions))

    def _demand(self, known: Shelved | None, terms: Terms) -> None:
        if terms.absent and known is not None:
            raise PreconditionFailed(f"{known.name} exists already")
        if terms.match is None or (known is not None and {"*", known.version} & terms.match):
            return
        now = "does not exist" if known is None else f"has changed since; it is at {known.version}"
        raise PreconditionFailed(f"the plugin {now}; read it again")

    async def _commit(self, made: Offer, how: str, terms: Terms) -> Outcome:
        manifest, name = made.manifest, made.manifest.metadata.name
        self._accept(made)
        known = self._shelf.get(name)
        data = manifest.to_dict()
        if known and (dict(known.newest.manifest), known.newest.digest) == (data, made.digest):
            return Outcome(name, changed=False)
        number = known.newest.number + 1 if known else 1
        at = rfc3339(self._clock.time())
        kept = Kept(number, data, made.digest, terms.by, at, how, terms.note, terms.mark)
        await asyncio.to_thread(self._shelf.put, name, kept)
        return Outcome(name, created=known is None)

    def _accept(self, made: Offer) -> None:
        demand_untrusted(made.manifest)
        self._manager.demand(made.manifest)
        if made.digest and not made.sent and not self._shelf.holds(made.digest):
            problem = Problem(
                "spec.source.bundle", "must be code that a kept revision has; else send the archive"
            )
            raise InvalidManifest("the manifest's code is not here", [problem])

    async def _told(self, outcome: Outcome) -> Outcome:
        if outcome.changed:
            await self._tell()
        return outcome

    async def _tell(self) -> None:
        """What was stored is wanted, even while the manager cannot be told: it will hear of it."""
        try:
            await self._hand_over()
        except (XcoreError, OSError) as error:
            _log.warning("an order is stored and waits to be carried out: %s", error)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes, objects are merged, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = merged(kept.get(key), value)
    return kept


def _named(made: Offer, name: str) -> Offer:
    if made.manifest.metadata.name != name:
        problem = Problem("metadata.name", f"must be {name}, as in the path; a plugin cannot be renamed")
        raise InvalidManifest("the manifest is of another plugin", [problem])
    return made
