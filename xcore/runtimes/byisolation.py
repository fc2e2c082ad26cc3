"""Two engines as one: trusted plugins go to one, all others to the other.

A sandboxed engine that is away must not take trusted plugins with it, and must not let sandboxed ones look gone:

- `list(plugin)` fails when the sandboxed engine does not answer, unless the plugin was last wanted as trusted (`check`
  and `start` tell) and no sandbox of it is known. Then what is trusted is given; a sandbox left over from an earlier
  controller shows up with the engine. Once such a plugin was seen to have no sandbox, the engine is not asked for it
  again.
- `list()` fails when either does: it is there to find orphans, and half of the truth finds false ones.
- `watch` hands on the end of either stream at once. Nothing is lost by it: hints are only hints, and whoever watches
  looks at everything again.

An instance that the trusted engine does not know is the sandboxed engine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from xcore.errors import Problem, RuntimeUnavailable
from xcore.instance_spec import Isolation
from xcore.manifest import Manifest
from xcore.packing.target import Target
from xcore.runtimes.seams import Engine
from xcore.workload import Instance, LogLine, Workload


class ByIsolation:
    """See `Engine`. Asked about no workload in particular, it speaks for the sandboxed engine."""

    def __init__(self, sandboxed: Engine, trusted: Engine) -> None:
        self._sandboxed, self._trusted = sandboxed, trusted
        self._wanted_trusted: set[str] = set()
        self._in_sandbox: dict[str, bool] = {}  # whether it had one when last seen; absent: never seen

    def name(self, workload: Workload | None) -> str:
        return self._for(workload).name(workload)

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:
        return self._for(workload).isolates(workload)

    def image(self, workload: Workload | None) -> str:
        return self._for(workload).image(workload)

    @property
    def target(self) -> Target:
        """The sandboxed engine's: a trusted plugin has no dependencies of its own."""
        return self._sandboxed.target

    async def open(self) -> None:
        """Open both, the trusted one first: it is there even when this raises what the sandboxed one raises."""
        await self._trusted.open()
        await self._sandboxed.open()

    def check(self, manifest: Manifest) -> Sequence[Problem]:
        self._note(manifest)
        return self._engine(manifest).check(manifest)

    async def pin(self, image: str, say: Callable[[str], None]) -> str:
        return await self._sandboxed.pin(image, say)

    async def start(self, workload: Workload) -> Instance:
        self._note(workload.manifest)
        engine = self._for(workload)
        if engine is self._sandboxed:
            self._in_sandbox[workload.name] = True  # even if this is cancelled half-way
        return await engine.start(workload)

    async def stop(self, instance: Instance, *, grace: float) -> None:
        await (await self._of(instance)).stop(instance, grace=grace)

    async def remove(self, instance: Instance) -> None:
        await (await self._of(instance)).remove(instance)

    async def list(self, plugin: str | None = None) -> Sequence[Instance]:
        trusted = await self._trusted.list(plugin)
        return [*trusted, *await self._list_sandboxed(plugin)]

    async def watch(self) -> AsyncIterator[str]:
        names: asyncio.Queue[str] = asyncio.Queue()
        streams = {asyncio.create_task(_pour(e.watch(), names)) for e in (self._trusted, self._sandboxed)}
        getting = asyncio.create_task(names.get())
        try:
            while not any(stream.done() for stream in streams):
                await asyncio.wait({getting, *streams}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    yield getting.result()
                    getting = asyncio.create_task(names.get())
            for stream in streams:
                if stream.done():
                    stream.result()
        finally:
            for task in (getting, *streams):
                task.cancel()
            await asyncio.gather(getting, *streams, return_exceptions=True)

    async def logs(self, instance: Instance, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        engine = await self._of(instance)
        async for line in engine.logs(instance, lines=lines, follow=follow):
            yield line

    async def aclose(self) -> None:
        try:
            await self._trusted.aclose()
        finally:
            await self._sandboxed.aclose()

    async def _list_sandboxed(self, plugin: str | None) -> Sequence[Instance]:
        if plugin is None:
            return await self._sandboxed.list()
        if plugin not in self._wanted_trusted:
            return await self._list_anew(plugin)
        if self._in_sandbox.get(plugin) is False:
            return []
        try:
            return await self._list_anew(plugin)
        except RuntimeUnavailable:
            if plugin in self._in_sandbox:
                raise
            return []

    async def _list_anew(self, plugin: str) -> Sequence[Instance]:
        found = await self._sandboxed.list(plugin)
        self._in_sandbox[plugin] = bool(found)
        return found

    def _note(self, manifest: Manifest) -> None:
        name = manifest.metadata.name
        if manifest.spec.isolation is Isolation.TRUSTED:
            self._wanted_trusted.add(name)
        else:
            self._wanted_trusted.discard(name)

    def _for(self, workload: Workload | None) -> Engine:
        return self._sandboxed if workload is None else self._engine(workload.manifest)

    def _engine(self, manifest: Manifest) -> Engine:
        return self._trusted if manifest.spec.isolation is Isolation.TRUSTED else self._sandboxed

    async def _of(self, instance: Instance) -> Engine:
        known = await self._trusted.list(instance.plugin)
        return self._trusted if any(i.id == instance.id for i in known) else self._sandboxed


async def _pour(stream: AsyncIterator[str], names: asyncio.Queue[str]) -> None:
    try:
        async for name in stream:
            names.put_nowait(name)
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()  # here, not when the collector finds it
