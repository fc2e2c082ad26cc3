"""The façade everything else talks to: what is wanted goes in, routes, status and events come out.

Refuses, with a reason, what may not run: a field nobody honours yet, a trusted plugin the operator did not name,
a name somebody else has. What is refused never disturbs what runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from xcore.clock import Clock, SystemClock
from xcore.directory import assign
from xcore.entry import Entry, resource, wants_the_same, workload_of
from xcore.errors import Conflict, PluginNotFound, XcoreError
from xcore.loader import Declared
from xcore.manifest import Manifest
from xcore.mirror import Mirror
from xcore.misfits import Misfits
from xcore.objection import objection
from xcore.records import Records
from xcore.routes import RouteTable
from xcore.runtimes.seams import Runtime
from xcore.status import told
from xcore.unused import Collector, collect_unused, sweep_unwanted
from xcore.waiting import comes, settled
from xcore.workload import LogLine
from xcore.xhooks import (
    HookBus,
    ManagerStarting,
    ManagerStopping,
    PluginDeclared,
    PluginRefused,
    PluginRemoved,
)

_log = logging.getLogger("xcore.manager")


class Manager:
    """One per controller. All calls are on the event loop's thread; none of them blocks it."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        records: Records,
        collectors: Sequence[Collector] = (),
        trusted: frozenset[str] = frozenset(),
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self.bus = HookBus()
        self.routes = RouteTable(on_suspect=runtime.poke, clock=self._clock)
        self.synced = False
        self._runtime, self._records, self._collectors, self._trusted = runtime, records, collectors, trusted
        self._changed = asyncio.Event()
        self._mirror = Mirror(runtime, records, self._clock, self.routes, self.bus, self._changed)
        self.routes.on_impostor = self._mirror.impostor
        runtime.attach(drain=self.routes.drain, exited=self._mirror.exited)
        self._entries: dict[str, Entry] = {}
        self._misfits = Misfits(self._clock, self._refused)
        self._swept = False
        self._following: asyncio.Task[None] | None = None
        self._stopping = False
        self._removing: dict[asyncio.Task[None], str] = {}

    async def start(self) -> None:
        self.bus.emit(ManagerStarting())
        await self._runtime.open()
        self._following = asyncio.create_task(self._follow())

    def stopping(self, grace: float) -> None:
        """Tell once that the end was asked for: background work has so many seconds, then requests are drained."""
        if not self._stopping:
            self._stopping = True
            self.bus.emit(ManagerStopping(grace=grace))

    async def aclose(self, *, stop_instances: bool) -> None:
        """Let go of everything; instances stay for the next controller unless `stop_instances`."""
        self.stopping(0)
        try:
            if stop_instances:
                await self._runtime.stop_all()
        finally:
            describing = [entry.describing for entry in self._entries.values()]
            tasks = [task for task in (self._following, *describing, *self._removing) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._runtime.aclose()

    # -- what is wanted -----------------------------------------------------------------------------------------

    async def sync(self, declared: Sequence[Declared]) -> None:
        """Make this the whole of what is wanted: apply each, let go of the rest, sweep what nobody wants.

        Returns before the rest is gone (PluginRemoved tells): an engine that is away must not hold up the others.
        """
        held = {entry.folder: name for name, entry in self._entries.items()}
        directory = assign(declared, held, self._records.name_of)
        generations = {item.folder: item.generation or 0 for item in declared}
        self._misfits.replace(directory.misfits, generations)
        for name in [name for name in self._entries if name not in directory.owners]:
            self._remove(name)
        for name, item in directory.owners.items():
            self._apply(name, item, directory.rivals.get(name, ()))
        # In a cluster others serve what this replica still reads up on.
        self.synced = self.synced or not any(item.pending and item.origin for item in declared)
        self._swept = self._swept or await sweep_unwanted(self._runtime, self._records, self._entries)
        if not self._removing:
            await collect_unused(self._entries.values(), self._runtime, self._collectors)

    def _refused(self, name: str, error: XcoreError) -> None:
        _log.warning("%s is refused: %s", name, told(error))
        self.bus.emit(PluginRefused(plugin=name, reason=error.reason, detail=told(error)))

    def _apply(self, name: str, declared: Declared, rivals: Sequence[str]) -> None:
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = Entry(name, declared.folder, self._records.read(name))
            self._resume(entry)
        before, entry.folder, entry.pending = entry.refused, declared.folder, declared.pending
        entry.rivals = rivals
        entry.refused = declared.error or self._objection(declared.manifest)
        entry.judged = entry.judged if declared.pending else declared.generation
        if entry.refused is None:
            try:
                self._accept(entry, declared)
            except XcoreError as error:
                entry.refused = error
        if entry.refused is not None and (before is None or told(before) != told(entry.refused)):
            self._refused(name, entry.refused)
        self._mirror.refresh(entry)

    def _resume(self, entry: Entry) -> None:
        """Take up what the last controller served, so that a folder broken meanwhile does not end it."""
        served = entry.record.served
        if served is None or self._objection(served.manifest) is not None:
            return
        if not all(directory.is_dir() for directory in served.directories):
            return
        entry.manifest, entry.workload = served.manifest, served
        self._want(entry)

    def _objection(self, manifest: Manifest | None) -> XcoreError | None:
        return objection(manifest, self._runtime, self._trusted)

    def _accept(self, entry: Entry, declared: Declared) -> None:
        if declared.pending:
            entry.manifest = entry.manifest or declared.manifest
        if declared.manifest is None or declared.pending:
            return
        before = entry.workload
        same = before is not None and wants_the_same(before, declared)
        if before and same and before.site != declared.site:
            entry.workload = replace(before, site=declared.site)  # of another Python: for what starts next
            self._want(entry)
        generation = declared.generation or entry.record.generation + (0 if same else 1)
        if same and (entry.record.folder, entry.record.generation) == (declared.folder, generation):
            return
        self._remember(entry, generation=generation, folder=declared.folder)
        if same:
            return
        entry.manifest = declared.manifest
        entry.workload = workload_of(declared, declared.manifest, generation)
        self.bus.emit(
            PluginDeclared(
                plugin=entry.name,
                revision=declared.revision,
                generation=generation,
                before=before.manifest if before is not None else None,
                after=declared.manifest,
            )
        )
        self._want(entry)

    def _want(self, entry: Entry) -> None:
        if entry.workload is not None:
            record = entry.record
            self._runtime.apply(
                entry.workload, fallback=record.served, suspended=entry.suspended, history=record.restarts
            )

    def _remove(self, name: str) -> None:
        entry = self._entries.pop(name)
        if entry.describing is not None:
            entry.describing.cancel()
        self.routes.drop(name)
        try:
            self._records.delete(name)
        except XcoreError as error:
            _log.warning("%s: its record could not be deleted: %s", name, error.detail)
        task = asyncio.create_task(self._removed(entry))
        self._removing[task] = name
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        del self._removing[task]
        self._changed.set()

    async def _removed(self, entry: Entry) -> None:
        await self._runtime.remove(entry.name)
        if entry.name not in self._entries:
            self.bus.emit(PluginRemoved(plugin=entry.name, before=entry.status))

    def demand(self, manifest: Manifest) -> None:
        """Raise what stands in the way of a manifest; of what may run, nothing."""
        if (error := self._objection(manifest)) is not None:
            raise error

    def folder_of(self, name: str) -> str | None:
        """Tell where the name is declared: a folder that has it, or one of that name that is refused."""
        entry = self._entries.get(name)
        return entry.folder if entry is not None else name if name in self._misfits else None

    # -- commands -----------------------------------------------------------------------------------------------

    def restart(self, name: str) -> None:
        """Replace the instance by a new one without a gap."""
        entry = self._entry(name)
        if entry.suspended:
            raise Conflict(f"{name} is suspended; resume it instead")
        if entry.workload is None:
            raise Conflict(f"{name} has no accepted revision to run")
        if entry.workload.origin is None:  # else its resource counts
            generation = entry.record.generation + 1
            self._remember(entry, generation=generation)
            entry.workload = replace(entry.workload, generation=generation)
        self._runtime.restart(name, entry.workload)
        self._mirror.refresh(entry)

    def suspend(self, name: str) -> None:
        """Stop it and keep it stopped, also over restarts of the controller."""
        self._set_suspended(self._entry(name), suspended=True)

    def resume(self, name: str) -> None:
        entry = self._entry(name)
        if entry.declared_suspended:
            raise Conflict(f"the manifest of {name} says operatingMode: Suspended; change it there")
        self._set_suspended(entry, suspended=False)

    def _set_suspended(self, entry: Entry, *, suspended: bool) -> None:
        if entry.record.suspended != suspended:
            self._remember(entry, suspended=suspended)
            self._want(entry)
            self._mirror.refresh(entry)

    def _remember(self, entry: Entry, **changes: Any) -> None:
        self._mirror.remember(entry, replace(entry.record, **changes))

    # -- what is so ---------------------------------------------------------------------------------------------

    def get(self, name: str) -> dict[str, Any]:
        """Give one Plugin resource: what was declared and its status; raises PluginNotFound."""
        if name not in self._entries and (status := self._misfits.get(name)) is not None:
            return resource(name, None, status)
        entry = self._entry(name)
        return resource(name, entry.manifest, self._mirror.status(entry))

    def status_of(self, folder: str) -> dict[str, Any] | None:
        """Give the status of what one folder or resource declares; None when it was not heard of yet."""
        if (status := self._misfits.get(folder)) is not None:
            return status
        entries = (entry for entry in self._entries.values() if entry.folder == folder)
        return next(map(self._mirror.status, entries), None)

    def names(self) -> list[str]:
        return sorted({*self._entries, *self._misfits})

    async def wait_ready(self, name: str, seconds: float) -> bool:
        """Wait until what serves is what is wanted; False when that is given up, or not so within `seconds`."""
        here = self._changed, self._clock, seconds
        return await comes(*here, lambda: settled(self._entry(name), self._runtime.observed(name)))

    async def wait_gone(self, name: str, seconds: float) -> bool:
        """Wait until nothing of it runs any more; False when something does after `seconds`."""
        here = self._changed, self._clock, seconds
        return await comes(*here, lambda: None if name in self._removing.values() else True)

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        if self._entry(name).workload is None:
            return
        async for line in self._runtime.logs(name, lines=lines, follow=follow):
            yield line

    async def _follow(self) -> None:
        async for name in self._runtime.watch():
            if (entry := self._entries.get(name)) is not None:
                self._mirror.refresh(entry)

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is not None:
            return entry
        if name in self._misfits:
            raise Conflict(f"the folder {name} is refused: there is nothing to act on; its status says why")
        raise PluginNotFound(f"there is no plugin {name!r}")
