"""The kernel inside a program of one's own: plugin folders in sandboxes, called without controller, port or database.

    async with Embedded(Path("plugins"), engine, state=Path("state")) as plugins:
        print(await plugins.call("hello", "greet", name="Ada"))

`manager` has the rest: status, logs, events, suspend, restart. Refused: plugins with `spec.dependencies`, which a controller
packs (`xcore pack --image` makes an image that needs no packing), or with `spec.calls`, which a controller answers, and the
`inprocess` engine, which has no sandbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar, overload

from xcore.bundle import Snapshots
from xcore.client import post
from xcore.errors import NotSupported, Problem, UpstreamUnreachable
from xcore.images import Images
from xcore.loader import Declared, Loader
from xcore.manager import Manager
from xcore.plugin.calling import CallFailed, Reply, asked, result
from xcore.records import Records
from xcore.routes import Target
from xcore.runtimes.seams import Engine
from xcore.runtimes.supervised import Supervised
from xcore.sources import Sources
from xcore.store import FileStore

R = TypeVar("R")

CALL_SECONDS = 60.0
# The conditions that keep a plugin from serving, the first cause first.
_IN_THE_WAY = ("Accepted", "ResolvedRefs", "Programmed", "Ready")


class Embedded:
    """Entered: every folder was read, and its plugin is on its way. Left: nothing runs any more.

    `state` holds copies of the code and what is remembered; one program at a time. A call takes at most `call_seconds`,
    half of which it waits for a plugin that does not serve yet. Entering raises what `Manager.start`
    and reading the directory raise: XcoreError.
    """

    def __init__(
        self, plugins: Path, engine: Engine, *, state: Path, call_seconds: float = CALL_SECONDS
    ) -> None:
        self._seconds = call_seconds
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

    @overload
    async def call(
        self, plugin: str, action: str, body: bytes | None = None, /, *, returns: type[R], **arguments: Any
    ) -> R: ...
    @overload
    async def call(self, plugin: str, action: str, body: bytes | None = None, /, **arguments: Any) -> Any: ...
    async def call(
        self, plugin: str, action: str, body: bytes | None = None, /, *, returns: Any = None, **arguments: Any
    ) -> Any:
        """Wait until the plugin serves, call an action and give its result, as a plugin's `self.context.call` does.

        Raises PluginNotFound; CallFailed with what the plugin answered, or why it does not serve; UpstreamError where
        its sandbox does not answer as it should, or not in time.
        """
        target, content, media_type = asked(plugin, action, body, arguments)
        return result(await self._post(plugin, target, content, media_type), returns)

    async def _post(self, plugin: str, target: str, body: bytes, media_type: str) -> Reply:
        try:
            async with asyncio.timeout(self._seconds):
                serving = await self._serving(plugin)
                serving.enter()
                try:
                    return await post(serving.endpoint, target, body, media_type)
                finally:
                    serving.leave()
        except TimeoutError:
            raise UpstreamUnreachable(f"no whole answer within {self._seconds:g} s") from None

    async def _serving(self, plugin: str) -> Target:
        if self._conditions(plugin)["Accepted"]["status"] != "False":
            await self.manager.wait_ready(plugin, self._seconds / 2)
        route = self.manager.routes.get(plugin)
        if route is None or route.target is None:
            raise self._not_ready(plugin)
        return route.target

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
