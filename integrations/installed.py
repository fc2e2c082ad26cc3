"""Integrations that are installed: found by the entry point group `xcore.integrations`, run where the operator names them.

An installed package alone runs nothing: only what `XCORE_INTEGRATIONS` names is imported. What is named is part of what the
operator ordered, so the controller does not start without it: missing, ambiguous, broken or slow to begin, it is refused by
name. Each lives apart, on a thread of its own, where importing it begins. What fails later ends alone, is told in the log and
by /readyz, and holds up nobody; what blocks for ever holds up itself.
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
from integrations.admin.theirs import route_class
from integrations.apart import Apart
from integrations.background import LAST_SECONDS, Background
from integrations.grants import Scope
from integrations.host import AskedFor, Host, Integration
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


@dataclass(frozen=True, slots=True)
class _Life:
    """One that runs: `over` is done when it has ended, `leave`, over there, has it end."""

    chosen: Chosen
    apart: Apart
    over: asyncio.Future[None]
    leave: asyncio.Event
    watching: asyncio.Task[None]


@contextlib.asynccontextmanager
async def joined(
    chosen: list[Chosen], app: FastAPI, manager: Manager, *, background: Background
) -> AsyncIterator[None]:
    """Begin them one after the other, and end them together; raises XcoreError when one does not begin."""
    lives: list[_Life] = []
    passing_on = asyncio.create_task(_pass_on(background.stopping, lives))
    try:
        for each in chosen:
            apart = Apart(f"integration {each.name}", background)
            host = Host(
                each.name, each.settings, AskedFor(manager, apart), _router(each, apart), manager.bus, apart
            )
            lives.append(await _begun(each, host))
            _check_routes(each, host.router)
            background.watch(apart.name, lives[-1].over)
            app.include_router(host.router)
        yield
    finally:
        passing_on.cancel()
        await asyncio.gather(*map(_left, lives))


def _router(chosen: Chosen, apart: Apart) -> APIRouter:
    return APIRouter(
        prefix=f"/api/v1/integrations/{chosen.name}",
        tags=[chosen.name],
        route_class=route_class(apart),
        dependencies=[demands(Scope.INTEGRATIONS_USE)],
    )


def _check_routes(chosen: Chosen, router: APIRouter) -> None:
    """Any other would be answered on the loop that serves, and in no audit."""
    if not all(isinstance(route, router.route_class) for route in router.routes):
        raise XcoreError(
            f"{chosen} has routes that its router did not make itself: no mounts, no routers in it"
        )


async def _begun(chosen: Chosen, host: Host) -> _Life:
    apart, begun, leave = host.apart, asyncio.Event(), asyncio.Event()
    over = apart.run(_live(chosen.entry, host, lambda: apart.here(begun.set), leave))
    await _wait_for(begun, over, START_SECONDS)
    if not begun.is_set():
        raise XcoreError(f"{chosen} does not begin: {await _why(apart, over)}")
    _log.info("%s runs", chosen)
    return _Life(chosen, apart, over, leave, asyncio.create_task(apart.watch()))


async def _pass_on(stopping: asyncio.Event, lives: list[_Life]) -> None:
    await stopping.wait()
    for life in lives:
        life.apart.there(life.apart.stopping.set)


async def _left(life: _Life) -> None:
    life.watching.cancel()
    life.apart.there(life.leave.set)
    await asyncio.wait({life.over}, timeout=END_SECONDS)
    if not life.over.done():
        _log.warning("%s does not end within %g s, and is left", life.chosen, END_SECONDS)
        life.apart.cancel()
        await asyncio.wait({life.over}, timeout=LAST_SECONDS)


async def _live(entry: EntryPoint, host: Host, begun: Callable[[], None], leave: asyncio.Event) -> None:
    integration: Integration = entry.load()
    async with integration(host):
        begun()
        await leave.wait()


async def _wait_for(event: asyncio.Event, over: asyncio.Future[None], seconds: float) -> None:
    waiting = asyncio.create_task(event.wait())
    either: set[asyncio.Future[Any]] = {waiting, over}
    await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _why(apart: Apart, over: asyncio.Future[None]) -> str:
    """Tell what stopped it, and leave nothing of it running that can be ended."""
    if not over.done():
        apart.cancel()
        await asyncio.wait({over}, timeout=LAST_SECONDS)
        return f"it has not after {START_SECONDS:g} s"
    error = None if over.cancelled() else over.exception()
    if error is None:
        return "it ended at once"
    _log.error("what it raised", exc_info=error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
