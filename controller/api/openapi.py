"""`/openapi.json` and `/docs`: the control plane, and behind the key every plugin that is ready.

What a plugin says of itself is a stranger's: bounded in size and time, taken over part by part, its references and
operation ids below its own name. Dropped is whatever would lead a browser elsewhere with the key in hand: servers, links,
callbacks, security schemes and references that leave the document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from integrations.admin.access import require_key
from xcore import jsonsafe
from xcore.errors import InvalidManifest, UpstreamError
from xcore.routes import Route, RouteTable
from xcore.spec import Access

MAX_DOCUMENT = 2**20
MAX_DEPTH = 64
SECONDS = 5.0
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_OPERATION = ("summary", "description", "deprecated", "parameters", "requestBody", "responses")
_COMPONENTS = ("schemas", "responses", "parameters", "examples", "requestBodies", "headers")
_SHARED = "#/components/"
_KEY = "HTTPBearer"  # the name FastAPI gives to the control plane's
_bearer = HTTPBearer(auto_error=False)

router = APIRouter(include_in_schema=False)


class PluginDocuments:
    """The documents of all plugins that are ready, each asked for once an instance."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes
        self._known: dict[str, tuple[str, dict[str, Any] | None]] = {}

    async def all(self) -> list[tuple[Route, dict[str, Any]]]:
        """Ask those that were not asked yet; who has none, or cannot be asked now, is left out."""
        routes = [
            route for route in self._routes if route.target is not None and route.manifest.spec.entrypoint
        ]
        await asyncio.gather(*map(self._learn, routes))
        names = {route.plugin for route in routes}
        self._known = {name: known for name, known in self._known.items() if name in names}
        found = ((route, self._known.get(route.plugin, ("", None))[1]) for route in routes)
        return [(route, document) for route, document in found if document is not None]

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
        self._known[route.plugin] = (target.instance, _document(body) if status == 200 else None)


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        # As strictly as a manifest: what JSON cannot hold (NaN, half a surrogate pair) could not be written again.
        found = jsonsafe.load(body, name="the document", max_bytes=MAX_DOCUMENT, max_depth=MAX_DEPTH)
    except InvalidManifest:
        return None
    return found if isinstance(found, dict) and str(found.get("openapi", "")).startswith("3.") else None


def merged(base: Mapping[str, Any], plugins: list[tuple[Route, dict[str, Any]]]) -> dict[str, Any]:
    """One document of the control plane's and the plugins'; a plugin's that cannot be read is left out."""
    paths: dict[str, Any] = dict(base.get("paths", {}))
    components = {kind: dict(parts) for kind, parts in base.get("components", {}).items()}
    for route, document in plugins:
        try:
            named = _Named(route, document)
            own_paths, own_components = dict(named.paths()), dict(named.components())
        except RecursionError:
            continue
        paths.update(own_paths)
        for kind, parts in own_components.items():
            components.setdefault(kind, {}).update(parts)
    return {**base, "paths": paths, "components": components}


class _Named:
    """A plugin's document with the plugin's name in front of whatever could meet another's."""

    def __init__(self, route: Route, document: dict[str, Any]) -> None:
        self._plugin, self._manifest, self._document = route.plugin, route.manifest, document

    def paths(self) -> Iterator[tuple[str, Any]]:
        for path, item in _members(self._document.get("paths")):
            if path.startswith("/") and isinstance(item, dict):
                shared = self._taken(item, ("summary", "description", "parameters"))
                operations = {
                    method: self._operation(method, path, item[method])
                    for method in _METHODS
                    if isinstance(item.get(method), dict)
                }
                yield f"/app/{self._plugin}{path}", {**shared, **operations}

    def components(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for kind, parts in _members(self._document.get("components")):
            if kind in _COMPONENTS:
                yield kind, {f"{self._plugin}.{name}": self._part(kind, one) for name, one in _members(parts)}

    def _part(self, kind: str, part: Any) -> Any:
        return self._own(_without_links(part) if kind == "responses" else part)

    def _operation(self, method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
        taken = self._taken(operation, _OPERATION)
        taken["responses"] = {
            status: _without_links(one) for status, one in _members(taken.get("responses"))
        } or {"default": {"description": "unknown"}}
        own_name = operation.get("operationId")
        public = self._manifest.action(path.split("/")[1]).access is Access.PUBLIC
        return {
            **taken,
            "operationId": f"{self._plugin}.{own_name if isinstance(own_name, str) else f'{method} {path}'}",
            "tags": [self._plugin],
            "security": [] if public else [{_KEY: []}],
        }

    def _taken(self, found: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
        return {key: self._own(found[key]) for key in keys if key in found}

    def _own(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._own(one) for one in value]
        if isinstance(value, str) and value.startswith(_SHARED):  # a reference, or a discriminator's mapping
            kind, slash, name = value.removeprefix(_SHARED).partition("/")
            return f"{_SHARED}{kind}{slash}{self._plugin}.{name}"
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str) and not reference.startswith(_SHARED):
            return {}
        return {key: self._own(one) for key, one in value.items()}


def _members(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _without_links(response: Any) -> Any:
    return {k: v for k, v in response.items() if k != "links"} if isinstance(response, dict) else response


def install(app: FastAPI, routes: RouteTable) -> None:
    """Serve both; the application itself must not (`openapi_url=None`)."""
    app.state.documents = PluginDocuments(routes)
    app.include_router(router)


@router.get("/openapi.json")
async def openapi(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> JSONResponse:
    """The control plane's document; with a valid key the plugins are in it, with a wrong one 401."""
    state = request.app.state
    document = request.app.openapi()
    if state.admin_key is None or credentials is not None:
        require_key(request, credentials)
        document = merged(document, await state.documents.all())
    return JSONResponse(document, headers={"cache-control": "no-store", "vary": "authorization"})


@router.get("/docs")
async def docs() -> HTMLResponse:
    """A page to read and try it; the key typed there stays in the page."""
    return HTMLResponse(_PAGE, headers={"cache-control": "no-store"})


_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>xcore</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui.css">
<style>form {{ font: 14px sans-serif; max-width: 1420px; margin: 16px auto 0; padding: 0 20px }}</style>
</head>
<body>
<form id="form"><label>Key, to see the plugins: <input id="key" type="password" autocomplete="off" size="50"></label>
<button>Show</button> <span id="told"></span></form>
<div id="swagger-ui">This page needs the Swagger UI of cdn.jsdelivr.net; without it: <a href="/openapi.json">/openapi.json</a></div>
<script src="https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui-bundle.js"></script>
<script>
const told = document.getElementById("told")
async function show(key) {{
  const answer = await fetch("/openapi.json", key ? {{headers: {{Authorization: "Bearer " + key}}}} : {{}})
  const body = await answer.json()
  told.textContent = answer.ok ? "" : body.detail
  if (!answer.ok) return
  const ui = SwaggerUIBundle({{spec: body, dom_id: "#swagger-ui", deepLinking: true, onComplete: () => {{
    if (key) ui.preauthorizeApiKey("{_KEY}", key)
  }}}})
}}
document.getElementById("form").addEventListener("submit", event => {{
  event.preventDefault()
  show(document.getElementById("key").value.trim())
}})
show("")
</script>
</body>
</html>
"""
