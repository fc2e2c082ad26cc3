"""Tells the operator which calls a manifest asks for and the settings do not grant, before the first one is refused."""

from __future__ import annotations

import logging
from collections.abc import Set as AbstractSet

from xcore.routes import RouteTable

_log = logging.getLogger("xcore.controller")


def tell_of_ungranted(routes: RouteTable, granted: AbstractSet[tuple[str, str]]) -> None:
    """Log each of them once, for as long as the plugin is there."""
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
