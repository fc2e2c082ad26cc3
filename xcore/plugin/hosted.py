"""What a host hosts: one face for a class with actions and for an ASGI application, and the former."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Callable
from typing import Any, Protocol

from xcore.plugin.app import ActionApp
from xcore.plugin.asgi import GONE, Receive, Scope, Send
from xcore.plugin.contained import Contained, PluginFailed
from xcore.plugin.contract import Context, Plugin
from xcore.plugin.threads import ActionThreads

_log = logging.getLogger("xcore.plugin")


class Hosted(Protocol):
    """`start` raises what the plugin fails with, SystemExit included; `stop` never raises.

    `description` is JSON: name, version, kind and actions; `openapi` a document, if there is one. `stuck` tells that only a new process can help. `close`
    lets go of threads. Called with a request (its path below `root_path`), it answers whatever the plugin does.
    """

    @property
    def kind(self) -> str: ...
    @property
    def description(self) -> bytes: ...

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def healthy(self) -> bool: ...
    async def openapi(self) -> bytes | None: ...
    def stuck(self) -> bool: ...
    def close(self) -> None: ...
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Actions:
    """A class derived from Plugin, made and asked by its hooks.

    Making one runs the plugin's `__init__` and raises what that raises; TypeError for an action that cannot be
    served.
    """

    kind = "actions"

    def __init__(
        self, plugin_class: type[Plugin], context: Context, *, threads: ActionThreads | None = None
    ) -> None:
        self.plugin = plugin_class.__new__(plugin_class)
        self.plugin.context = context
        plugin_class.__init__(self.plugin)
        self.threads = threads or ActionThreads()
        self.app = ActionApp(self.plugin, self.threads)
        self.description = self.app.description
        # One for each hook: they wait neither for actions nor for each other.
        self._hook_threads = ActionThreads(3, name="hook")
        self._checking: asyncio.Task[bool] | None = None

    async def start(self) -> None:
        try:
            await self._run(self.plugin.startup)
        except PluginFailed as failed:
            failure = failed.__cause__
        else:
            return
        assert failure is not None
        raise failure  # out here its own context stays as it is

    async def stop(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
        try:
            await self._run(self.plugin.shutdown)
        except PluginFailed as failed:
            _log.error("shutdown failed", exc_info=failed.__cause__)

    async def healthy(self) -> bool:
        """Ask the plugin, once at a time: a `health` that hangs must not pile up with every probe."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        return await asyncio.shield(self._checking)

    async def openapi(self) -> bytes | None:
        return self.app.document()

    def stuck(self) -> bool:
        return self.threads.stuck()

    def close(self) -> None:
        self.threads.close()
        self._hook_threads.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        scope[GONE] = task.cancel
        await self.app(scope, receive, send)

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
