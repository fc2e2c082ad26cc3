"""Calls between plugins, as the controller joins them to the rest: when they are answered, and which are not granted."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence, Set as AbstractSet

from controller.dataplane.calls import answers, port_answers
from controller.dataplane.plane import DataPlane
from controller.ground import Ground
from xcore.loader import Declared
from xcore.manager import Manager
from xcore.routes import RouteTable

_log = logging.getLogger("xcore.controller")


def answering(
    manager: Manager, plane: DataPlane, ground: Ground
) -> Callable[[Sequence[Declared]], Awaitable[None]]:
    """Give `manager.sync`, after which calls are answered. Until then they wait: nobody knows yet who may call whom."""
    answer, port = answers(plane), ground.port

    async def sync(declared: Sequence[Declared]) -> None:
        await manager.sync(declared)
        if manager.synced:
            ground.calls.start(answer)
            if port is not None:
                await port.start(port_answers(plane, port))

    return sync


def hang_up(ground: Ground) -> None:
    """Answer no more calls."""
    ground.calls.close()
    if ground.port is not None:
        ground.port.close()


def tell_of_ungranted(routes: RouteTable, granted: AbstractSet[tuple[str, str]]) -> None:
    """Log each call that a manifest wants and nobody grants, before it is refused: once, for as long as the plugin is there."""
    told: dict[str, frozenset[str]] = {}

    def look(plugin: str) -> None:
        route = routes.get(plugin)
        if route is None:
            told.pop(plugin, None)
            return
        wanted = frozenset(called for called in route.manifest.spec.calls if (plugin, called) not in granted)
        for called in sorted(wanted - told.get(plugin, frozenset())):
            _log.warning(
                "%s wants to call %s; XCORE_GRANTED_CALLS has no %s:%s", plugin, called, plugin, called
            )
        told[plugin] = wanted

    routes.listen(look)
