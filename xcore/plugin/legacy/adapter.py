"""The ASGI application around an old plugin: its hooks, its actions, its routes.

Two kinds. With `handle(action, payload)` every POST to one name below the plugin's path is an action; requests that a
route of its router takes go there first. With `run()` and a module's PLUGIN_INFO, `run` is the one action and all else is
the router's, whose prefix stands for the plugin's path. Refused: a class that has neither.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec

from xcore import sdk
from xcore.plugin.asgi import (
    Answer,
    ASGIApp,
    ClientGone,
    Receive,
    Scope,
    Send,
    header,
    json_answer,
    problem,
    refuse,
    respond,
)
from xcore.plugin.contract import Context
from xcore.plugin.host import Legacy, Spec
from xcore.plugin.legacy.calls import Calls
from xcore.plugin.legacy.envelope import BadPayload
from xcore.plugin.legacy.package import place
from xcore.plugin.legacy.routes import RUN, Routes, found_in
from xcore.plugin.results import BadResult, simpler

_STARTING = ("on_init", "on_load", "on_start")
_STOPPING = ("on_stop", "on_unload")


def adapt(spec: Spec, context: Context, load: Callable[[str], ModuleType]) -> ASGIApp:
    """Import the entry point's module by `load` and wrap what it calls `Plugin`; raises what the import raises, TypeError."""
    _, module_name, attribute = place(spec.entrypoint)
    module = load(module_name)
    found = getattr(module, attribute, None)
    handles = callable(getattr(found, "handle", None))
    if not inspect.isclass(found) or not (handles or callable(getattr(found, RUN, None))):
        raise TypeError(
            f"{spec.entrypoint} is no class with handle(action, payload) or run(): no plugin of the old system"
        )
    return Adapter(module, found, context, spec.legacy or Legacy())


class Adapter:
    """See the module. The plugin is made when it starts, on the loop that serves it."""

    def __init__(self, module: ModuleType, plugin: type, context: Context, told: Legacy) -> None:
        self._module, self._class, self._context = module, plugin, context
        self._handles = callable(getattr(plugin, "handle", None))
        self._plugin: Any = None
        self._routes: Routes | None = None
        self._calls = Calls(context.name, told, self._handle if self._handles else self._run)
        self._path = f"/app/{context.name}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        action = self._action(scope)
        if action is not None:
            with contextlib.suppress(ClientGone):
                await respond(send, await self._calls.answer(action, scope, receive))
        elif self._routes is not None:
            await self._routes(scope, receive, send)
        elif scope["type"] == "websocket":
            await refuse(send, problem(400, "MalformedRequest", "the plugin has no WebSocket"))
        else:
            await respond(send, self._refusal(scope))

    def _action(self, scope: Scope) -> str | None:
        name = str(scope["path"]).removeprefix(self._path).removeprefix("/")
        if scope["type"] != "http" or scope["method"] != "POST" or not name or "/" in name:
            return None
        if self._routes is not None and self._routes.answers(scope) and (self._handles or name != RUN):
            return None
        return name if self._handles or name == RUN else None

    def _refusal(self, scope: Scope) -> Answer:
        name = str(scope["path"]).removeprefix(self._path).removeprefix("/")
        if not name and scope["method"] in {"GET", "HEAD"}:
            told = {"name": self._context.name, "version": self._context.version, "kind": "legacy"}
            return _answer(told)
        request_id = header(scope, b"x-request-id").decode("latin-1")
        if name and "/" not in name and (self._handles or name == RUN):
            answer = problem(405, "MethodNotAllowed", f"{name} is called with POST", requestId=request_id)
            answer.headers.append((b"allow", b"POST"))
            return answer
        return problem(404, "ActionNotFound", f"there is no action {name!r}", requestId=request_id)

    async def _handle(self, action: str, payload: dict[str, Any]) -> Answer:
        return _answer(await _awaited(self._plugin.handle(action, payload)))

    async def _run(self, _action: str, payload: dict[str, Any]) -> Answer:
        if self._routes is not None:
            return await self._routes.run(payload)
        try:
            inspect.signature(self._plugin.run).bind(**payload)
        except TypeError as error:
            raise BadPayload(422, "InvalidArguments", f"run: {error}") from None
        return _answer(await _awaited(self._plugin.run(**payload)))

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with contextlib.AsyncExitStack() as open_routes:
            try:
                await self._start()
                if self._routes is not None:
                    await open_routes.enter_async_context(self._routes.lifespan())
            except BaseException as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await self._call(_STOPPING)
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        self._plugin = self._class()
        self._introduce(self._plugin)
        await self._call(_STARTING)
        router = found_in(self._plugin, self._module)
        if router is not None:
            self._routes = Routes(router, self._context, prefixed=not self._handles)
            if not self._handles:
                self._routes.add_run(self._plugin.run)

    def _introduce(self, plugin: Any) -> None:
        """Hand over what the old system did: everything the manifest said beyond what it knew, and the environment."""
        config = dict(self._context.config)
        if isinstance(plugin, sdk.TrustedBase):
            context = self._context
            plugin.ctx = sdk.PluginContext(context.name, config, dict(os.environ), calls=context.calls)
        with contextlib.suppress(AttributeError):  # it has slots, and wants none of this
            plugin._config = config.get("configuration", {})  # noqa: SLF001  the old system's name for it

    async def _call(self, hooks: tuple[str, ...]) -> None:
        for name in hooks:
            hook = getattr(self._plugin, name, None)
            if callable(hook):
                await _awaited(hook())


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _answer(result: Any) -> Answer:
    """Give it as JSON; raises BadResult."""
    try:
        return json_answer(_encode(result))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadResult(f"returned what cannot be sent: {error}") from None


def _plain(value: Any) -> Any:
    """Pydantic models were written by the old system as well."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else simpler(value)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
