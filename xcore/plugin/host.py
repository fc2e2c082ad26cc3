"""Hosts one plugin, a class with actions or an ASGI application: loads it, starts it, answers the probes beside it.

    /startup   200 once its start-up has ended, 503 before
    /ready     200 while `health` says so (an application is asked nothing)
    /live      200 while no sync action has outlived its deadline by far (a blocked loop answers nothing)
    /describe  its kind, its actions and their schemas
    /openapi   its OpenAPI document, if it has one
    /app/...   the plugin

The probes lie outside the plugin's paths: an action named `ready` never meets them.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, cast

import msgspec

from xcore.plugin.application import Application
from xcore.plugin.asgi import Answer, ASGIApp, Receive, Scope, Send, json_answer, respond, text_answer
from xcore.plugin.calling import CALL_HEADER, CALLER_HEADER, SERVING, Calls, Serving, nobody
from xcore.plugin.contract import Context, Plugin
from xcore.plugin.hosted import Actions, Hosted
from xcore.plugin.threads import ActionThreads

_TOLD = frozenset({CALL_HEADER, CALLER_HEADER})
_NOTHING = Serving()


class RateLimit(msgspec.Struct, frozen=True, rename="camel"):
    calls: int
    period_seconds: float


class Legacy(msgspec.Struct, frozen=True, rename="camel"):
    """How a plugin of the old system answers (`xcore.plugin.legacy`)."""

    envelope: str = "Current"
    timeout_seconds: float | None = None
    rate_limit: RateLimit | None = None


class Spec(msgspec.Struct, frozen=True):
    """What a host is told of its plugin; JSON in `PLUGIN_SPEC`."""

    name: str
    entrypoint: str
    version: str = ""
    config: dict[str, Any] = {}
    legacy: Legacy | None = None


def resolve(
    entrypoint: str, load: Callable[[str], object] = importlib.import_module
) -> type[Plugin] | ASGIApp:
    """`module:Attribute` → a class of Plugin or an ASGI application; raises what the import raises, else TypeError."""
    module, _, attribute = entrypoint.partition(":")
    found = getattr(load(module), attribute, None)
    if inspect.isclass(found) and issubclass(found, Plugin) and found is not Plugin:
        return found
    if is_application(found):
        return found
    raise TypeError(
        f"{entrypoint} is {_what(found)}: neither a class derived from xcore.plugin.Plugin nor an ASGI application"
        " (a callable of scope, receive and send, such as app = FastAPI())"
    )


def is_application(found: object) -> TypeGuard[ASGIApp]:
    """Whether it can be called with scope, receive and send and gives something to await (ASGI 3)."""
    if inspect.isclass(found) and not hasattr(found, "__await__"):
        return False
    if not callable(found):
        return False
    try:
        inspect.signature(found).bind({}, None, None)
    except (TypeError, ValueError):
        return False
    return True


def _what(found: object) -> str:
    if found is None:
        return "not there"
    if inspect.isclass(found):
        return f"the class {found.__qualname__}"
    if inspect.isfunction(found):
        return f"the function {found.__qualname__} (an application that a function makes is named after it is made)"
    return f"an object of {type(found).__qualname__}"


class Host:
    """An ASGI application around one plugin. Call `start` once before and `stop` once after serving.

    Making one raises what making the plugin raises.
    """

    def __init__(
        self, found: type[Plugin] | ASGIApp, context: Context, *, threads: ActionThreads | None = None
    ) -> None:
        self.hosted: Hosted
        if isinstance(found, type) and issubclass(found, Plugin):
            self.hosted = Actions(found, context, threads=threads)
        else:
            self.hosted = Application(cast("ASGIApp", found), context)
        self.root_path = f"/app/{context.name}"
        self.started = False

    async def start(self) -> None:
        """Run the plugin's start-up; whatever it raises is raised, SystemExit included."""
        await self.hosted.start()
        self.started = True

    async def stop(self) -> None:
        """Run the plugin's shutdown if it was started; a failure there is logged, there is nobody left to tell."""
        try:
            if self.started:
                self.started = False
                await self.hosted.stop()
        finally:
            self.hosted.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == self.root_path or path.startswith(f"{self.root_path}/"):
            scope["root_path"] = self.root_path
            before = SERVING.set(_serving(scope))
            try:
                await self.hosted(scope, receive, send)
            finally:
                SERVING.reset(before)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
        else:
            await respond(send, await self.probe(path))

    async def probe(self, path: str) -> Answer:
        if path == "/startup":
            return _verdict(self.started, "starting")
        if path == "/ready":
            return _verdict(self.started and await self.hosted.healthy(), "not ready")
        if path == "/live":
            return _verdict(not self.hosted.stuck(), "a sync action does not end")
        if path == "/describe":
            return json_answer(self.hosted.description)
        if path == "/openapi":
            document = await self.hosted.openapi() if self.started else None
            return text_answer(404, "no document\n") if document is None else json_answer(document)
        return text_answer(404, "not found\n")


def _verdict(good: bool, otherwise: str) -> Answer:
    return text_answer(200, "ok\n") if good else text_answer(503, f"{otherwise}\n")


def _serving(scope: Scope) -> Serving:
    told = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _TOLD}
    return Serving(told.get(CALL_HEADER, ""), told.get(CALLER_HEADER, "")) if told else _NOTHING


def make_context(spec: Spec, secrets: Mapping[str, bytes], calls: Calls = nobody) -> Context:
    """Make what a plugin is told; `secrets` by `name/key`. What is not UTF-8 it can only read as a file."""
    texts = {}
    for path, value in secrets.items():
        with contextlib.suppress(UnicodeDecodeError):
            texts[path] = value.decode()
    logger = logging.getLogger(f"plugin.{spec.name}")
    return Context(spec.name, spec.version, spec.config, texts, logger, calls)
