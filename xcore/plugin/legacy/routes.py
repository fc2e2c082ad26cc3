"""An old plugin's FastAPI router, served below `/app/<plugin>`. FastAPI is the plugin's dependency, not ours."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlencode

import msgspec

from xcore.plugin.asgi import Answer, Message, Receive, Scope, Send
from xcore.plugin.contract import Context

RUN = "run"


class NoRouter(Exception):
    """What the plugin calls its router is none, or FastAPI is not there to serve it."""


class Routes:
    """`prefixed`: the router's own prefix is where the old system mounted it, and stands for `/app/<plugin>`.

    Else it lies below: a prefix `/items` answers at `/app/<plugin>/items`. Raises NoRouter.
    """

    def __init__(self, router: Any, context: Context, *, prefixed: bool) -> None:
        fastapi = _fastapi(router)
        self._prefix: str = router.prefix.rstrip("/") if prefixed else ""
        path = f"/app/{context.name}"
        # Where the two agree, paths and the links made of them are what they always were.
        same = bool(self._prefix) and path.endswith(self._prefix)
        self._root = path.removesuffix(self._prefix) if same else path
        self._path = path
        self._app = fastapi.FastAPI(
            title=context.name,
            version=context.version or "0.0.0",
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
        )
        self._app.include_router(router)
        self._app.add_api_route(f"{self._prefix}/openapi.json", self._document, include_in_schema=False)

    def _document(self) -> dict[str, Any]:
        """FastAPI's document, its paths as they are below the plugin's."""
        told = self._app.openapi()
        paths = {path.removeprefix(self._prefix): item for path, item in told["paths"].items()}
        return {**told, "paths": paths}

    def lifespan(self) -> AbstractAsyncContextManager[Any]:
        """What the router wants done before the first and after the last request."""
        found: AbstractAsyncContextManager[Any] = self._app.router.lifespan_context(self._app)
        return found

    def answers(self, scope: Scope) -> bool:
        """Whether a route of its own takes this request."""
        inner = self._inner(scope)
        return any(route.matches(inner)[0].name == "FULL" for route in self._app.router.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(self._inner(scope), receive, send)

    def add_run(self, run: Callable[..., Any]) -> None:
        """Have `run` called by POST below its name as well; the function its own route calls, if it has one."""
        routed = (getattr(route, "endpoint", None) for route in self._app.router.routes)
        endpoint = next((found for found in routed if getattr(found, "__name__", "") == RUN), run)
        self._app.add_api_route(f"{self._prefix}/{RUN}", endpoint, methods=["POST"], include_in_schema=False)

    async def run(self, payload: dict[str, Any]) -> Answer:
        """Call `run`: its plain parameters are taken from the payload as a query, a model from it as the body."""
        collected = _Collected(msgspec.json.encode(payload))
        plain = {name: value for name, value in payload.items() if isinstance(value, str | int | float)}
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": f"{self._path}/{RUN}",
            "root_path": self._path,
            "query_string": urlencode(plain).encode(),
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "state": {},
        }
        await self(scope, collected.receive, collected.send)
        return collected.answer()

    def _inner(self, scope: Scope) -> Scope:
        below = scope["path"].removeprefix(self._path)
        if not (below == self._prefix or below.startswith(f"{self._prefix}/")):
            below = self._prefix + below
        path = self._root + below
        return {**scope, "root_path": self._root, "path": path, "raw_path": path.encode()}


class _Collected:
    """Gives one body and takes one answer in."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._start: Message = {"status": 500, "headers": []}
        self._content: list[bytes] = []

    async def receive(self) -> Message:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._content.append(message.get("body", b""))

    def answer(self) -> Answer:
        headers = [(n, v) for n, v in self._start["headers"] if n.lower() != b"content-length"]
        return Answer(self._start["status"], headers, b"".join(self._content))


def found_in(*holders: Any) -> Any:
    """The router of the first that has one: as `router`, or given by `get_router()`."""
    for holder in holders:
        for name in ("router", "get_router"):
            found = getattr(holder, name, None)
            if callable(found) and not hasattr(found, "routes"):
                found = found()
            if found is not None:
                return found
    return None


def _fastapi(router: Any) -> Any:
    fastapi = None
    with contextlib.suppress(ImportError):
        fastapi = importlib.import_module("fastapi")
    if fastapi is None:
        raise NoRouter(
            "it has a router, and fastapi is none of its dependencies: name it in spec.dependencies"
        )
    if not isinstance(router, fastapi.APIRouter):
        raise NoRouter(f"its router is an object of {type(router).__qualname__}, not FastAPI's APIRouter")
    return fastapi
