"""`/openapi.json`: the control plane, and behind the key every plugin that is ready.

What a plugin says of itself is a stranger's: bounded in size and time, and made anew (`parts`) before it is shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from controller.api import page
from controller.api.parts import Part, part_of
from integrations.admin.access import enter
from integrations.grants import Grant
from xcore import jsonsafe
from xcore.errors import InvalidManifest, UpstreamError
from xcore.routes import Route, RouteTable
from xcore.spec import Access

MAX_DOCUMENT = 2**20
MAX_DEPTH = 64
SECONDS = 5.0
_SHARED = "#/components/"
_KEY = "HTTPBearer"  # the name FastAPI gives to the control plane's
_log = logging.getLogger("xcore.controller")

router = APIRouter(include_in_schema=False)


class PluginDocuments:
    """The parts of all plugins that are ready, each asked for and judged once an instance."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes
        self._known: dict[str, tuple[str, Part | None]] = {}

    async def all(self) -> list[tuple[Route, Part]]:
        """Ask those that were not asked yet; who has none, or cannot be asked now, is left out."""
        routes = [
            route for route in self._routes if route.target is not None and route.manifest.spec.entrypoint
        ]
        await asyncio.gather(*map(self._learn, routes))
        names = {route.plugin for route in routes}
        self._known = {name: known for name, known in self._known.items() if name in names}
        found = ((route, self._known.get(route.plugin, ("", None))[1]) for route in routes)
        return [(route, part) for route, part in found if part is not None]

    async def _learn(self, route: Route) -> None:
        target = route.target
        assert target is not None
        if self._known.get(route.plugin, ("", None))[0] == target.instance:
            return
        self._known.pop(route.plugin, None)
        try:
            # A byte more than allowed tells that it is too large.
            status, body = await target.endpoint.get("/openapi", seconds=SECONDS, limit=MAX_DOCUMENT + 1)
        except UpstreamError:
            return
        # In a thread: a large one takes a while, and requests go on.
        part = await asyncio.to_thread(_part, route.plugin, body) if status == 200 else None
        self._known[route.plugin] = (target.instance, part)


def _part(plugin: str, body: bytes) -> Part | None:
    """A plugin's part; what cannot be used of its document is told in the log."""
    try:
        # As strictly as a manifest: what JSON cannot hold (NaN, half a surrogate pair) could not be written again.
        found = jsonsafe.load(body, name="the document", max_bytes=MAX_DOCUMENT, max_depth=MAX_DEPTH)
    except InvalidManifest as error:
        _log.warning("the OpenAPI document of %s is left out of /openapi.json: %s", plugin, error)
        return None
    if not isinstance(found, dict) or not str(found.get("openapi", "")).startswith("3."):
        _log.warning("the OpenAPI document of %s is left out of /openapi.json: it is none of 3.x", plugin)
        return None
    part = part_of(plugin, found)
    if part.left_out:
        _log.warning(
            "of the OpenAPI document of %s, %d parts are not valid and left out of /openapi.json",
            plugin,
            part.left_out,
        )
    return part


def merged(base: Mapping[str, Any], plugins: list[tuple[Route, Part]], grant: Grant) -> dict[str, Any]:
    """One document of the control plane's parts, and the plugins' for those actions that may be called."""
    paths: dict[str, Any] = dict(base.get("paths", {}))
    components = {kind: dict(parts) for kind, parts in base.get("components", {}).items()}
    whole = True
    for route, part in plugins:
        for path, operations in part.paths.items():
            action = route.manifest.action(path.split("/")[3])
            public = action.access is Access.PUBLIC
            allowed = grant.why_not(route.plugin, action.name, frozenset(action.scopes)) is None
            if not allowed and not (public and grant.reaches(route.plugin)):
                whole = False
                continue
            security: dict[str, Any] = {"security": [] if public else [{_KEY: []}]}
            paths[path] = {method: {**operation, **security} for method, operation in operations.items()}
        for kind, parts in part.components.items():
            components.setdefault(kind, {}).update(parts)
    document = {**base, "paths": paths, "components": components}
    return document if whole else _pruned(document, base.get("components", {}))


def _pruned(document: dict[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """The document without components that nothing refers to, beside those of `kept`: they tell of other actions."""
    components, wanted = document["components"], set()
    waiting: list[Any] = [document["paths"], kept]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
            for name in (*node.get("mapping", {}).values(), node.get("$ref")):
                if isinstance(name, str) and name not in wanted:
                    wanted.add(name)
                    waiting.append(_at(components, name))
    found = {
        kind: {
            name: part
            for name, part in parts.items()
            if name in kept.get(kind, ()) or f"{_SHARED}{kind}/{name}" in wanted
        }
        for kind, parts in components.items()
    }
    return {**document, "components": {kind: parts for kind, parts in found.items() if parts}}


def _at(components: Mapping[str, Any], reference: str) -> Any:
    kind, _, name = reference.removeprefix(_SHARED).partition("/")
    return components.get(kind, {}).get(name)


def install(app: FastAPI, routes: RouteTable) -> None:
    """Serve it, and the page that shows it; the application itself must not (`openapi_url=None`)."""
    app.state.documents = PluginDocuments(routes)
    app.include_router(router)
    app.include_router(page.router)


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """The control plane's document; with a valid key what it may call is in it, with a wrong one 401."""
    state = request.app.state
    document = request.app.openapi()
    if state.gate is None or "authorization" in request.headers:
        document = merged(document, await state.documents.all(), enter(request))
    return JSONResponse(document, headers={"cache-control": "no-store", "vary": "authorization"})
