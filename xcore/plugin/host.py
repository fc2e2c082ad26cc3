"""Hosts one plugin: loads its entry point, starts it, and answers the probes beside it.

    /startup   200 once `startup` has ended, 503 before
    /ready     200 while `health` says so
    /live      200 while no sync action has outlived its deadline by far (a blocked loop answers nothing)
    /describe  actions and schemas
    /app/...   the plugin

The probes lie outside the plugin's paths: an action named `ready` never meets them.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from xcore.plugin.app import ActionApp
from xcore.plugin.asgi import Answer, Receive, Scope, Send, json_answer, respond, text_answer
from xcore.plugin.contained import Contained, PluginFailed
from xcore.plugin.contract import Context, Plugin
from xcore.plugin.threads import ActionThreads

_log = logging.getLogger("xcore.plugin")


class Spec(msgspec.Struct, frozen=True):
    """What a host is told of its plugin; JSON in `PLUGIN_SPEC`."""

    name: str
    entrypoint: str
    version: str = ""
    config: dict[str, Any] = {}


def resolve(entrypoint: str, load: Callable[[str], object] = importlib.import_module) -> type[Plugin]:
    """`module:Class` → the class; raises what the import raises, and TypeError for anything but a Plugin."""
    module, _, attribute = entrypoint.partition(":")
    found = getattr(load(module), attribute, None)
    if not (inspect.isclass(found) and issubclass(found, Plugin) and found is not Plugin):
        raise TypeError(f"{entrypoint} is not a class derived from xcore.plugin.Plugin")
    return found


class Host:
    """An ASGI application around one plugin. Call `start` once before and `stop` once after serving.

    Making one runs the plugin's `__init__` and raises what that raises; TypeError for an action that cannot be
    served.
    """

    def __init__(
        self, plugin_class: type[Plugin], context: Context, *, threads: ActionThreads | None = None
    ) -> None:
        self.plugin = plugin_class.__new__(plugin_class)
        self.plugin.context = context
        plugin_class.__init__(self.plugin)
        self.threads = threads or ActionThreads()
        self.app = ActionApp(self.plugin, self.threads)
        self.root_path = f"/app/{context.name}"
        self.started = False
        # One for each hook: they wait neither for actions nor for each other.
        self._hook_threads = ActionThreads(3, name="hook")
        self._checking: asyncio.Task[bool] | None = None

    async def start(self) -> None:
        """Run the plugin's `startup`; whatever it raises is raised, SystemExit included."""
        try:
            await self._run(self.plugin.startup)
        except PluginFailed as failed:
            failure = failed.__cause__
        else:
            self.started = True
            return
        assert failure is not None
        raise failure  # out here its own context stays as it is

    async def stop(self) -> None:
        """Run the plugin's `shutdown`; a failure there is logged, there is nobody left to tell."""
        if self._checking is not None:
            self._checking.cancel()
        try:
            if self.started:
                self.started = False
                await self._run(self.plugin.shutdown)
        except PluginFailed as failed:
            _log.error("shutdown failed", exc_info=failed.__cause__)
        finally:
            self.threads.close()
            self._hook_threads.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
        elif path == self.root_path or path.startswith(f"{self.root_path}/"):
            scope["root_path"] = self.root_path
            await self.app(scope, receive, send)
        else:
            await respond(send, await self.probe(path))

    async def probe(self, path: str) -> Answer:
        if path == "/startup":
            return _verdict(self.started, "starting")
        if path == "/ready":
            return _verdict(self.started and await self._healthy(), "not ready")
        if path == "/live":
            return _verdict(not self.threads.stuck(), "a sync action does not end")
        if path == "/describe":
            return json_answer(self.app.description)
        return text_answer(404, "not found\n")

    async def _healthy(self) -> bool:
        """Ask the plugin, once at a time: a `health` that hangs must not pile up with every probe."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        return await asyncio.shield(self._checking)

    async def _check(self) -> bool:
        try:
            return await self._run(self.plugin.health) is not False
        except PluginFailed as failed:
            _log.error("health failed", exc_info=failed.__cause__)
            return False

    async def _run(self, hook: Callable[[], Any]) -> Any:
        """Hooks are async, but a plain `def startup(self)` is a natural thing to write: it runs in a thread."""
        with Contained():
            if inspect.iscoroutinefunction(hook):
                return await hook()
            result = await self._hook_threads.run(hook, math.inf)
            return await result if inspect.isawaitable(result) else result


def _verdict(good: bool, otherwise: str) -> Answer:
    return text_answer(200, "ok\n") if good else text_answer(503, f"{otherwise}\n")


def make_context(spec: Spec, secrets: Mapping[str, str]) -> Context:
    return Context(spec.name, spec.version, spec.config, secrets, logging.getLogger(f"plugin.{spec.name}"))
