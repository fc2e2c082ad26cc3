"""Hosts one plugin: loads its entry point, starts it, and answers the probes beside it.

    /startup   200 once `startup` has ended, 503 before
    /ready     200 while `health` says so
    /live      200 while no sync action has outlived its deadline by far (a blocked loop answers nothing)
    /describe  actions and schemas
    /app/...   the plugin

The probes lie outside the plugin's paths: an action named `ready` never meets them.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from xcore.plugin.app import ActionApp, PluginFailed, contained
from xcore.plugin.asgi import Receive, Scope, Send, respond
from xcore.plugin.contract import Context, Plugin, Response
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
    if not (inspect.isclass(found) and issubclass(found, Plugin)):
        raise TypeError(f"{entrypoint} is not a class derived from xcore.plugin.Plugin")
    return found


class Host:
    """An ASGI application around one plugin. Call `start` once before and `stop` once after serving."""

    def __init__(self, plugin_class: type[Plugin], context: Context) -> None:
        self.plugin = plugin_class.__new__(plugin_class)
        self.plugin.context = context
        plugin_class.__init__(self.plugin)
        self.threads = ActionThreads()
        self.app = ActionApp(self.plugin, self.threads)
        self.root_path = f"/app/{context.name}"
        self.started = False

    async def start(self) -> None:
        """Run the plugin's `startup`; whatever it raises is raised."""
        await _settle(self.plugin.startup)
        self.started = True

    async def stop(self) -> None:
        """Run the plugin's `shutdown`; a failure there is logged, there is nobody left to tell."""
        try:
            await contained(_settle(self.plugin.shutdown))
        except PluginFailed as failed:
            _log.error("shutdown failed", exc_info=failed.__cause__)
        self.threads.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(self.root_path):
            await self.app({**scope, "root_path": self.root_path}, receive, send)
        else:
            await respond(send, await self.probe(path))

    async def probe(self, path: str) -> Response:
        if path == "/startup":
            return _verdict(self.started, "starting")
        if path == "/ready":
            return _verdict(self.started and await self._healthy(), "not ready")
        if path == "/live":
            return _verdict(not self.threads.stuck(), "a sync action does not end")
        if path == "/describe":
            return Response(msgspec.json.encode(self.app.describe()), "application/json")
        return Response("not found\n", "text/plain", 404)

    async def _healthy(self) -> bool:
        try:
            return await contained(_settle(self.plugin.health)) is not False
        except PluginFailed as failed:
            _log.error("health failed", exc_info=failed.__cause__)
            return False


async def _settle(hook: Callable[[], Any]) -> Any:
    """Hooks are async, but a plain `def startup(self)` is a natural thing to write."""
    result = hook()
    return await result if inspect.isawaitable(result) else result


def _verdict(good: bool, otherwise: str) -> Response:
    return Response("ok\n", "text/plain") if good else Response(f"{otherwise}\n", "text/plain", 503)


def make_context(spec: Spec, secrets: Mapping[str, str]) -> Context:
    return Context(spec.name, spec.version, spec.config, secrets, logging.getLogger(f"plugin.{spec.name}"))
