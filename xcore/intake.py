"""Plugins made, changed and removed through the API. One order at a time becomes what is wanted, whole or not at all.

Refused, with nothing changed: what may not run, a trusted plugin, a name that a folder has, an order whose condition
(`If-Match`) no longer holds. An order that was carried out and comes again with the same mark is not carried out twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable, Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xcore.clock import Clock, SystemClock, rfc3339
from xcore.declare import demand_untrusted
from xcore.errors import (
    Conflict,
    Forbidden,
    InvalidManifest,
    PluginNotFound,
    PreconditionFailed,
    Problem,
    RevisionNotFound,
    XcoreError,
)
from xcore.ledger import Kept, Ledger, Overtaken, Shelved
from xcore.manager import Manager
from xcore.manifest import from_dict
from xcore.parcel import Offer, Parcel, manifest_of, offer, open_parcel
from xcore.spec import OperatingMode

_TRIES = 5
_log = logging.getLogger("xcore.intake")


@dataclass(frozen=True, slots=True)
class Terms:
    """Who orders, and on which terms. `match`: the versions it may be at ("*": any); `absent`: it must not be there; `only`: the
    names that a new plugin of theirs may have, None for any.
    """

    by: str
    note: str = ""
    mark: str = ""
    match: frozenset[str] | None = None
    absent: bool = False
    only: AbstractSet[str] | None = None


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
        ledger: Ledger,
        manager: Manager,
        *,
        hand_over: Callable[[], Awaitable[None]],
        staging: Path,
        clock: Clock | None = None,
    ) -> None:
        self._ledger, self._manager = ledger, manager
        self._hand_over, self._clock = hand_over, clock or SystemClock()
        self._one_at_a_time = asyncio.Lock()
        self.staging = staging
        shutil.rmtree(staging, ignore_errors=True)  # what a killed controller was unpacking

    # -- orders -------------------------------------------------------------------------------------------------

    async def create(self, parcel: Parcel, terms: Terms) -> Outcome:
        """Make a plugin whose name is new; raises Conflict when it is not, Forbidden where `only` forbids it."""
        await self._awake()
        made = await self._opened(parcel)
        name = made.manifest.metadata.name
        if terms.only is not None and name not in terms.only:
            raise Forbidden(f"this key is not for {name}")

        async def order() -> Outcome:
            known = await self._known(name)
            if _is_done(known, terms):
                return Outcome(name, created=True, changed=False)
            if known is not None:
                raise Conflict(f"{name} exists already; PUT or PATCH changes it")
            return await self._commit(made, known, "create", terms)

        return await self._alone(order)

    async def replace(self, name: str, parcel: Parcel, terms: Terms) -> Outcome:
        """Make it, or give it another manifest and code."""
        await self._awake()
        _demand(await self._known(name), terms)
        made = await self._opened(parcel)

        async def order() -> Outcome:
            known = await self._known(name)
            _demand(known, terms)
            return await self._commit(_named(made, name), known, "update" if known else "create", terms)

        return await self._alone(order)

    async def patch(self, name: str, changes: Any, terms: Terms, *, how: str = "patch") -> Outcome:
        """Change it by a JSON merge patch (RFC 7396) of its manifest."""
        await self._awake()

        async def order() -> Outcome:
            known = await self._existing(name)
            _demand(known, terms)
            manifest = manifest_of((merged(dict(known.newest.manifest), changes), {}))
            return await self._commit(_named(offer(manifest), name), known, how, terms)

        return await self._alone(order)

    async def rollback(self, name: str, number: int, terms: Terms) -> Outcome:
        """Want again what a kept revision says, as a new revision."""
        await self._awake()
        noted = replace(terms, note=terms.note or f"to revision {number}")

        async def order() -> Outcome:
            known = await self._existing(name)
            if _is_done(known, terms):
                return Outcome(name, changed=False)
            _demand(known, terms)
            kept = next((each for each in known.revisions if each.number == number), None)
            if kept is None:
                there = ", ".join(str(each.number) for each in known.revisions)
                raise RevisionNotFound(f"{name} has no revision {number}; there are {there}")
            wanted = Offer(from_dict(dict(kept.manifest)), kept.digest)
            return await self._commit(wanted, known, "rollback", noted)

        return await self._alone(order)

    async def delete(self, name: str, terms: Terms) -> None:
        """Want it no more. Its instances go in the background, its code when nobody uses it."""
        await self._awake()

        async def order() -> Outcome:
            known = await self._existing(name)
            _demand(known, terms)
            await self._ledger.delete(name, known)
            return Outcome(name)

        await self._alone(order)

    def restart(self, name: str, terms: Terms) -> None:
        """Replace its instances by new ones."""
        _demand_version(self.version(name), terms)
        self._manager.restart(name)

    async def suspend(self, name: str, terms: Terms) -> None:
        """Stop it and keep it stopped."""
        await self._set_mode(name, OperatingMode.SUSPENDED, terms)

    async def resume(self, name: str, terms: Terms) -> None:
        """Run it again."""
        await self._set_mode(name, OperatingMode.RUNNING, terms)

    async def revisions(self, name: str) -> list[Kept]:
        """The kept revisions, oldest first; the last is what is wanted."""
        return list((await self._existing(name)).revisions)

    def version(self, name: str) -> str:
        """Another one after every change of what is wanted; of a folder's plugin, its generation."""
        return self._ledger.version(name) or str(self._manager.get(name)["metadata"]["generation"])

    async def wait_gone(self, name: str, seconds: float) -> bool:
        """Wait until nothing of it runs or is kept; False when something does after `seconds`."""
        until = self._clock.time() + seconds
        if not await self._manager.wait_gone(name, seconds):
            return False
        return await self._ledger.wait_gone(name, until - self._clock.time())

    # -- steps --------------------------------------------------------------------------------------------------

    async def _awake(self) -> None:
        """Before the first look at the plugins directory nobody knows which names its folders have."""
        if not self._manager.synced:
            await self._hand_over()

    async def _alone(self, order: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Carry out one order at a time; from the beginning when somebody else was faster, in the same ledger."""
        async with self._one_at_a_time:
            for _ in range(_TRIES):
                with contextlib.suppress(Overtaken):
                    outcome = await order()
                    break
            else:
                raise Conflict("others keep changing it; send it again in a moment")
        if outcome.changed:
            await self._tell()
        return outcome

    async def _opened(self, parcel: Parcel) -> Offer:
        return await asyncio.to_thread(open_parcel, parcel, self._ledger.snapshots, self.staging)

    async def _set_mode(self, name: str, mode: OperatingMode, terms: Terms) -> None:
        """Say it in its manifest, where that is the ledger's way; else, and of a folder's plugin, the manager remembers it."""
        suspends = mode is OperatingMode.SUSPENDED
        if self._ledger.declares_mode and await self._ledger.read(name) is not None:
            changes = {"spec": {"operatingMode": mode.value}}
            await self.patch(name, changes, terms, how="suspend" if suspends else "resume")
            return
        _demand_version(self.version(name), terms)
        if suspends:
            self._manager.suspend(name)
        else:
            self._manager.resume(name)

    async def _known(self, name: str) -> Shelved | None:
        """What the ledger has under the name; raises Conflict where a folder has it."""
        known, place = await self._ledger.read(name), self._manager.folder_of(name)
        if known is None and place is not None and "/" not in place:  # else it was one of the ledger's
            raise Conflict(f"{name} lives in the folder {place} of the plugins directory; change it there")
        return known

    async def _existing(self, name: str) -> Shelved:
        known = await self._known(name)
        if known is None:
            raise PluginNotFound(f"there is no plugin {name!r}")
        return known

    async def _commit(self, made: Offer, known: Shelved | None, how: str, terms: Terms) -> Outcome:
        manifest, name = made.manifest, made.manifest.metadata.name
        await self._accept(made)
        lost = made.sent and known and not await self._ledger.holds(name, made.digest)
        if known and not lost and _same(known.newest, made):
            return Outcome(name, changed=False)
        number = known.newest.number + 1 if known else 1
        at = rfc3339(self._clock.time())
        kept = Kept(number, manifest.to_dict(), made.digest, terms.by, at, how, terms.note, terms.mark)
        await self._ledger.put(name, kept, known)
        return Outcome(name, created=known is None)

    async def _accept(self, made: Offer) -> None:
        demand_untrusted(made.manifest)
        self._manager.demand(made.manifest)
        name = made.manifest.metadata.name
        if made.digest and not made.sent and not await self._ledger.holds(name, made.digest):
            problem = Problem(
                "spec.source.bundle", "must be code that a kept revision has; else send the archive"
            )
            raise InvalidManifest("the manifest's code is not here", [problem])

    async def _tell(self) -> None:
        """What was stored is wanted, even while the manager cannot be told: it will hear of it."""
        try:
            await self._hand_over()
        except (XcoreError, OSError) as error:
            _log.warning("an order is stored and waits to be carried out: %s", error)


def _is_done(known: Shelved | None, terms: Terms) -> bool:
    return bool(terms.mark and known and any(kept.request == terms.mark for kept in known.revisions))


def _demand(known: Shelved | None, terms: Terms) -> None:
    if terms.absent and known is not None:
        raise PreconditionFailed(f"{known.name} exists already")
    _demand_version(known.version if known is not None else None, terms)


def _demand_version(version: str | None, terms: Terms) -> None:
    if terms.match is None or (version is not None and {"*", version} & terms.match):
        return
    now = "does not exist" if version is None else f"has changed since; it is at {version}"
    raise PreconditionFailed(f"the plugin {now}; read it again")


def _same(kept: Kept, made: Offer) -> bool:
    try:
        return (from_dict(dict(kept.manifest)).wish(), kept.digest) == (made.manifest.wish(), made.digest)
    except InvalidManifest:  # a version with other fields accepted it
        return False


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
