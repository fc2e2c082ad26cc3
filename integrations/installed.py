"""Integrations that are installed: found by the entry point group `xcore.integrations`, run where the operator names them.

An installed package alone runs nothing: only what `XCORE_INTEGRATIONS` names is imported. What is named is part of what the
operator ordered, so the controller does not start without it: missing, ambiguous, broken or slow to begin, it is refused by
name. What fails later ends alone, is told in the log and by /readyz, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fastapi import APIRouter, FastAPI

from integrations.admin.access import demands
from integrations.admin.audited import Audited
from integrations.background import LAST_SECONDS, Background
from integrations.database.database import Database
from integrations.grants import Scope
from integrations.host import Host, Integration
from xcore.errors import XcoreError
from xcore.manager import Manager

GROUP = "xcore.integrations"
START_SECONDS, END_SECONDS = 10.0, 5.0
_log = logging.getLogger("xcore.integrations")


@dataclass(frozen=True, slots=True)
class Chosen:
    """One that is to run; nothing of it is imported yet."""

    entry: EntryPoint
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.entry.name

    def __str__(self) -> str:
        package = self.entry.dist
        origin = f" of {package.name} {package.version}" if package is not None else ""
        return f"integration {self.name}{origin}"


def choose(wanted: Mapping[str, Mapping[str, Any]]) -> list[Chosen]:
    """Find the installed ones of these names, in their order; raises XcoreError where one is not there, or there twice."""
    installed = entry_points(group=GROUP)
    there = ", ".join(sorted(installed.names)) or "none is"
    chosen = []
    for name, settings in wanted.items():
        found = list(installed.select(name=name))
        if not found:
            raise XcoreError(f"XCORE_INTEGRATIONS names {name}, which is not installed; installed: {there}")
        if len(found) > 1:
            packages = " and ".join(sorted(e.dist.name if e.dist is not None else e.value for e in found))
            raise XcoreError(f"XCORE_INTEGRATIONS names {name}, which {packages} both call theirs")
        chosen.append(Chosen(found[0], settings))
    for name in sorted(installed.names - wanted.keys()):
        _log.info("integration %s is installed, and not run: XCORE_INTEGRATIONS does not name it", name)
    return chosen


@contextlib.asynccontextmanager
async def joined(
    chosen: list[Chosen], app: FastAPI, manager: Manager, *, database: Database, background: Background
) -> AsyncIterator[None]:
    """Begin them one after the other, and end them in the opposite order; raises XcoreError when one does not begin."""
    async with contextlib.AsyncExitStack() as stack:
        for each in chosen:
            router = APIRouter(
                prefix=f"/api/v1/integrations/{each.name}",
                tags=[each.name],
                route_class=Audited,
                dependencies=[demands(Scope.INTEGRATIONS_USE)],
            )
            host = Host(each.name, each.settings, manager, router, database, manager.bus, background)
            await stack.enter_async_context(_running(each, host))
            app.include_router(router)
        yield


@contextlib.asynccontextmanager
async def _running(chosen: Chosen, host: Host) -> AsyncIterator[None]:
    """A task of its own holds it open, so that what it does to its task (cancel it, say) is done to no other."""
    begun, leave = asyncio.Event(), asyncio.Event()
    life = asyncio.create_task(_live(chosen.entry, host, begun.set, leave))
    await _wait_for(begun, life, START_SECONDS)
    if not begun.is_set():
        raise XcoreError(f"{chosen} does not begin: {await _why(life)}")
    _log.info("%s runs", chosen)
    host.background.watch(f"integration {chosen.name}", life)
    try:
        yield
    finally:
        leave.set()
        await asyncio.wait({life}, timeout=END_SECONDS)
        if not life.done():
            _log.warning("%s does not end within %g s, and is left", chosen, END_SECONDS)
            life.cancel()
            await asyncio.wait({life}, timeout=LAST_SECONDS)


async def _live(entry: EntryPoint, host: Host, begun: Callable[[], None], leave: asyncio.Event) -> None:
    integration: Integration = entry.load()
    async with integration(host):
        begun()
        await leave.wait()


async def _wait_for(event: asyncio.Event, life: asyncio.Task[None], seconds: float) -> None:
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({waiting, life}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _why(life: asyncio.Task[None]) -> str:
    """Tell what stopped it, and leave nothing of it running."""
    if not life.done():
        life.cancel()
        await asyncio.wait({life}, timeout=LAST_SECONDS)
        return f"it has not after {START_SECONDS:g} s"
    error = None if life.cancelled() else life.exception()
    if error is None:
        return "it ended at once"
    _log.error("what it raised", exc_info=error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
