"""The kernel inside a program of one's own: plugin folders in sandboxes, called without controller, port or database.

    async with Embedded(Path("plugins"), engine, state=Path("state")) as plugins:
        print(await plugins.call("hello", "greet", {"name": "Ada"}))

`manager` has the rest: status, logs, events, suspend, restart. Refused: plugins with `spec.dependencies`, which a controller
packs (`xcore pack --image` makes an image that needs no packing), and the `inprocess` engine, which has no sandbox.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from xcore.bundle import Snapshots
from xcore.client import CallFailed, Reply, post
from xcore.errors import NotSupported, Problem
from xcore.images import Images
from xcore.loader import Declared, Loader
from xcore.manager import Manager
from xcore.records import Records
from xcore.runtimes.seams import Engine
from xcore.runtimes.supervised import Supervised
from xcore.sources import Sources
from xcore.store import FileStore

CALL_SECONDS = 60.0
# The conditions that keep a plugin from serving, the first cause first.
_IN_THE_WAY = ("Accepted", "ResolvedRefs", "Programmed", "Ready")


class Embedded:
    """Entered: every folder was read, and its plugin is on its way. Left: nothing runs any more.

    `state` holds copies of the code and what is remembered; one program at a time. Entering raises what `Manager.start`
    and reading the directory raise: XcoreError.
    """

    def __init__(self, plugins: Path, engine: Engine, *, state: Path) -> None:
        snapshots = Snapshots(state / "snapshots")
        records = Records(FileStore(state / "store"), snapshots=snapshots.directory, sites=state / "sites")
        self.manager = Manager(Supervised(engine), records=records)
        self._sources = Sources([_Folders(Loader(plugins, snapshots))], [Images(engine)])
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.manager.start()
        self._following = asyncio.create_task(self._sources.follow(self.manager.sync))
        try:
            await self.refresh()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._sources.aclose()
        await self.manager.aclose(stop_instances=True)

    async def refresh(self) -> None:
        """Read the folders again: new ones start, changed ones roll, those that are gone end."""
        await self._sources.refresh()

    async def call(
        self, plugin: str, action: str, arguments: Mapping[str, Any] = {}, *, seconds: float = CALL_SECONDS
    ) -> Any:
        """Wait until the plugin serves and call an action: JSON decoded, anything else as bytes.

        All of it within `seconds`. Raises PluginNotFound, CallFailed with what the plugin or its status says,
        UpstreamError where the sandbox does not answer as it should.
        """
        reply = await self.post(plugin, f"/{action}", json.dumps(dict(arguments)).encode(), seconds=seconds)
        if reply.status >= 400:
            raise CallFailed.of(reply)
        return reply.value()

    async def post(self, plugin: str, path: str, body: bytes, *, seconds: float = CALL_SECONDS) -> Reply:
        """Send a body to any path of a plugin, and give its answer whatever its status. Raises like `call`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._conditions(plugin)["Accepted"]["status"] != "False":
            await self.manager.wait_ready(plugin, seconds)
        route = self.manager.routes.get(plugin)
        target = route.target if route is not None else None
        if target is None:
            raise self._not_ready(plugin)
        target.enter()
        try:
            left = max(until - loop.time(), 0.0)
            return await post(target.endpoint, f"/app/{plugin}{path}", body, seconds=left)
        finally:
            target.leave()

    def _not_ready(self, plugin: str) -> CallFailed:
        found = self._conditions(plugin)
        false = (found[kind] for kind in _IN_THE_WAY if kind in found and found[kind]["status"] == "False")
        told = next(false, found["Ready"])
        return CallFailed(503, told["reason"], told["message"])

    def _conditions(self, plugin: str) -> dict[str, dict[str, str]]:
        return {one["type"]: one for one in self.manager.get(plugin)["status"]["conditions"]}


class _Folders:
    """See `Source`: the loader, without what only a controller can make ready."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def scan(self) -> Sequence[Declared]:
        return [_refused(declared) for declared in self._loader.scan()]


def _refused(declared: Declared) -> Declared:
    if declared.manifest is None or not declared.manifest.spec.dependencies:
        return declared
    what = (
        "must be empty: nothing is packed here; `xcore pack --image` makes an image of plugin and libraries"
    )
    return replace(
        declared, error=NotSupported("not without a controller", [Problem("spec.dependencies", what)])
    )
