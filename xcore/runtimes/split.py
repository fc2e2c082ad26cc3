"""Two runtimes as one: trusted plugins inside this process, all others where sandboxes run. See `Runtime`.

A plugin that moves from one to the other is wanted from the new one at once, and removed from the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from xcore.errors import PluginNotFound, Problem
from xcore.instance_spec import Isolation
from xcore.manifest import Manifest
from xcore.restart import Restarts
from xcore.runtimes.hints import Hints
from xcore.runtimes.seams import Drain, Exited, Observed, Runtime
from xcore.workload import LogLine, Workload


class Split:
    """Asked about no workload in particular, it speaks for the sandboxes."""

    def __init__(self, sandboxed: Runtime, trusted: Runtime) -> None:
        self._sandboxed, self._trusted = sandboxed, trusted
        self._places: dict[str, Runtime] = {}
        self._hints = Hints()
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, *, drain: Drain, exited: Exited) -> None:
        for runtime in (self._trusted, self._sandboxed):
            runtime.attach(drain=drain, exited=exited)

    def check(self, manifest: Manifest) -> Sequence[Problem]:
        return self._for(manifest).check(manifest)

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:
        return self._for(workload.manifest if workload else None).isolates(workload)

    def image(self, workload: Workload | None) -> str:
        return self._for(workload.manifest if workload else None).image(workload)

    async def open(self) -> None:
        """Open both, the trusted one first: it is there even when this raises what the other one raises."""
        for runtime in (self._trusted, self._sandboxed):
            await runtime.open()
            self._start(self._pour(runtime))

    def apply(
        self, workload: Workload, *, fallback: Workload | None, suspended: bool, history: Restarts
    ) -> None:
        place = self._for(workload.manifest)
        before = self._places.get(workload.name, place)
        self._places[workload.name] = place
        if before is not place:
            self._start(before.remove(workload.name))
        place.apply(workload, fallback=fallback, suspended=suspended, history=history)

    def restart(self, plugin: str, workload: Workload) -> None:
        self._place(plugin).restart(plugin, workload)

    async def remove(self, plugin: str) -> None:
        place = self._places.pop(plugin, None)
        if place is not None:
            await place.remove(plugin)

    def observed(self, plugin: str) -> Observed | None:
        place = self._places.get(plugin)
        return place.observed(plugin) if place is not None else None

    def watch(self) -> AsyncIterator[str]:
        return self._hints.follow()

    def poke(self, plugin: str) -> None:
        if plugin in self._places:
            self._places[plugin].poke(plugin)

    async def sweep(self) -> Sequence[str]:
        return [*await self._trusted.sweep(), *await self._sandboxed.sweep()]

    async def logs(self, plugin: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        async for line in self._place(plugin).logs(plugin, lines=lines, follow=follow):
            yield line

    async def stop_all(self) -> None:
        await asyncio.gather(self._trusted.stop_all(), self._sandboxed.stop_all())

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self._trusted.aclose(), self._sandboxed.aclose())

    async def _pour(self, runtime: Runtime) -> None:
        async for plugin in runtime.watch():
            self._hints.give(plugin)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _for(self, manifest: Manifest | None) -> Runtime:
        trusted = manifest is not None and manifest.spec.isolation is Isolation.TRUSTED
        return self._trusted if trusted else self._sandboxed

    def _place(self, plugin: str) -> Runtime:
        place = self._places.get(plugin)
        if place is None:
            raise PluginNotFound(f"there is no plugin {plugin!r}")
        return place
