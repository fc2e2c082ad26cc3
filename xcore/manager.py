"""The façade everything else talks to: what is wanted goes in, routes, status and events come out.

Refuses, with a reason, what may not run: a field nobody honours yet, a trusted plugin the operator did not name,
a name somebody else has. What is refused never disturbs what runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xcore.bundle import Snapshots
from xcore.clock import Clock, SystemClock
from xcore.describe import describe
from xcore.errors import (
    Conflict,
    InvalidManifest,
    NotAllowedTrusted,
    NotSupported,
    PluginNotFound,
    RouteConflict,
    UpstreamError,
    XcoreError,
)
from xcore.instance_spec import Isolation
from xcore.loader import Declared
from xcore.manifest import Manifest, not_yet
from xcore.records import Record, Records
from xcore.routes import Route, RouteTable
from xcore.runtimes.seams import Observed, Runtime
from xcore.spec import OperatingMode
from xcore.status import Facts, build, told
from xcore.workload import Exit, Instance, LogLine, Workload
from xcore.xhooks import (
    HookBus,
    InstanceExited,
    ManagerStarting,
    ManagerStopping,
    PluginDeclared,
    PluginRefused,
    PluginRemoved,
    StatusChanged,
)

HOLD_SECONDS = 5.0
DESCRIPTION_LIMIT = 1024 * 1024
_log = logging.getLogger("xcore.manager")


@dataclass(slots=True)
class Entry:
    """One plugin as the manager knows it. `workload` is what was last accepted, `refused` why the newest was not."""

    name: str
    folder: str
    record: Record
    manifest: Manifest | None = None
    workload: Workload | None = None
    refused: XcoreError | None = None
    status: dict[str, Any] | None = None
    actions: dict[str, list[Any]] = field(default_factory=dict)  # by revision
    describing: asyncio.Task[None] | None = None

    @property
    def suspended(self) -> bool:
        declared = self.manifest is not None and self.manifest.spec.operating_mode is OperatingMode.SUSPENDED
        return declared or self.record.suspended


class Manager:
    """One per controller. All calls are on the event loop's thread; none of them blocks it."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        records: Records,
        snapshots: Snapshots,
        trusted: frozenset[str] = frozenset(),
        clock: Clock | None = None,
    ) -> None:
        self.bus = HookBus()
        self.routes = RouteTable(on_suspect=runtime.poke)
        self.synced = False
        self._runtime, self._records, self._snapshots, self._trusted = runtime, records, snapshots, trusted
        self._clock = clock or SystemClock()
        self._entries: dict[str, Entry] = {}
        self._misfits: dict[str, dict[str, Any]] = {}  # folders without a plugin of their own, by folder
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.bus.emit(ManagerStarting())
        await self._runtime.open()
        self._task = asyncio.create_task(self._follow())

    async def aclose(self, *, stop_instances: bool) -> None:
        """Let go of everything; instances stay for the next controller unless `stop_instances`."""
        self.bus.emit(ManagerStopping())
        if stop_instances:
            await self._runtime.stop_all()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._runtime.aclose()

    # -- what is wanted -----------------------------------------------------------------------------------------

    async def sync(self, declared: Sequence[Declared]) -> None:
        """Make this the whole of what is wanted: apply each, remove the rest, then sweep what nobody wants."""
        owners, misfits = self._owners(declared)
        self._misfits = misfits
        for name, item in owners.items():
            self._apply(name, item)
        gone = [name for name in self._entries if name not in owners]
        await asyncio.gather(*(self._remove(name) for name in gone))
        if not self.synced:
            self.synced = True
            for name in await self._runtime.sweep():
                _log.info("removed an instance nobody wants: %s", name[:12])
        self._collect()

    def _owners(self, declared: Sequence[Declared]) -> tuple[dict[str, Declared], dict[str, dict[str, Any]]]:
        """Decide which folder speaks for which name; the others are told why not."""
        owners: dict[str, Declared] = {}
        misfits: dict[str, dict[str, Any]] = {}
        by_folder = {entry.folder: name for name, entry in self._entries.items()}
        # Whoever has the name already keeps it; else the first in order.
        for item in sorted(declared, key=lambda d: (d.folder not in by_folder, d.folder)):
            name = item.manifest.metadata.name if item.manifest else by_folder.get(item.folder)
            if name is None:
                name = self._records.name_of(item.folder)
            if name is None:
                misfits[item.folder] = self._misfit(item.folder, item.error or Conflict("no manifest"))
            elif name in owners:
                error = RouteConflict(f"the folder {owners[name].folder} already declares the name {name}")
                misfits[item.folder] = self._misfit(item.folder, error)
            else:
                owners[name] = item
        return owners, misfits

    def _misfit(self, folder: str, error: XcoreError) -> dict[str, Any]:
        known = self._misfits.get(folder)
        facts = Facts(folder, 0, error, None, suspended=False, isolated=("Unknown", "NotProbed", ""))
        status = build(facts, self._clock.time(), known)
        if known is None or known["conditions"] != status["conditions"]:
            _log.warning("the folder %s is refused: %s", folder, told(error))
            self.bus.emit(PluginRefused(plugin=folder, reason=error.reason, detail=told(error)))
        return status

    def _apply(self, name: str, declared: Declared) -> None:
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = Entry(name, declared.folder, self._records.read(name))
            self._resume_record(entry)
        before, entry.folder = entry.refused, declared.folder
        entry.refused = declared.error or self._objection(declared)
        if entry.refused is None:
            self._accept(entry, declared)
        elif before is None or told(before) != told(entry.refused):
            _log.warning("%s is refused: %s", name, told(entry.refused))
            refused = PluginRefused(plugin=name, reason=entry.refused.reason, detail=told(entry.refused))
            self.bus.emit(refused)
        self._refresh(entry)

    def _resume_record(self, entry: Entry) -> None:
        """Take up what the last controller served, so that a folder broken meanwhile does not end it."""
        served = entry.record.served
        if served is None or not served.code.is_dir():
            return
        entry.workload = served
        self._want(entry)

    def _objection(self, declared: Declared) -> XcoreError | None:
        manifest = declared.manifest
        if manifest is None:
            return InvalidManifest("there is no manifest")
        name = manifest.metadata.name
        if manifest.spec.isolation is Isolation.TRUSTED and name not in self._trusted:
            return NotAllowedTrusted(f"{name} is not among the names in XCORE_TRUSTED")
        problems = [*not_yet(manifest), *self._runtime.check(manifest)]
        if problems:
            return NotSupported("this version or runtime cannot honour it", problems)
        return None

    def _accept(self, entry: Entry, declared: Declared) -> None:
        if declared.manifest is None or declared.code is None:
            return
        entry.manifest = declared.manifest
        before = entry.workload
        if before and (before.revision, before.manifest) == (declared.revision, declared.manifest):
            return
        generation = entry.record.generation + 1
        entry.workload = Workload(declared.manifest, declared.revision, generation, declared.code)
        self._remember(entry, generation=generation, folder=declared.folder)
        self.bus.emit(PluginDeclared(plugin=entry.name, revision=declared.revision, generation=generation))
        self._want(entry)

    def _want(self, entry: Entry) -> None:
        if entry.workload is not None:
            self._runtime.apply(
                entry.workload,
                fallback=entry.record.served,
                suspended=entry.suspended,
                history=entry.record.restarts,
            )

    async def _remove(self, name: str) -> None:
        entry = self._entries.pop(name)
        self.routes.drop(name)
        if entry.describing:
            entry.describing.cancel()
        await self._runtime.remove(name)
        self._records.delete(name)
        self.bus.emit(PluginRemoved(plugin=name))
        self._changed.set()

    def _collect(self) -> None:
        """Remove snapshots that no plugin uses, once every plugin runs what it should."""
        if all(self._settled(entry) for entry in self._entries.values()):
            kept = [w for e in self._entries.values() for w in (e.workload, e.record.served) if w]
            self._snapshots.collect(frozenset(workload.code.name for workload in kept))

    def _settled(self, entry: Entry) -> bool:
        observed = self._runtime.observed(entry.name)
        return observed is None or (observed.settled and len(observed.instances) == 1)

    # -- commands -----------------------------------------------------------------------------------------------

    def restart(self, name: str) -> int:
        """Replace the instance by a new one without a gap; returns the generation to wait for."""
        entry = self._entry(name)
        if entry.suspended:
            raise Conflict(f"{name} is suspended; resume it instead")
        if entry.workload is None:
            raise Conflict(f"{name} has no accepted revision to run")
        generation = entry.record.generation + 1
        entry.workload = replace(entry.workload, generation=generation)
        self._remember(entry, generation=generation)
        self._runtime.restart(name, entry.workload)
        self._refresh(entry)
        return generation

    def suspend(self, name: str) -> None:
        """Stop it and keep it stopped, also over restarts of the controller."""
        self._set_suspended(self._entry(name), suspended=True)

    def resume(self, name: str) -> None:
        entry = self._entry(name)
        if entry.manifest is not None and entry.manifest.spec.operating_mode is OperatingMode.SUSPENDED:
            raise Conflict(f"the manifest of {name} says operatingMode: Suspended; change it there")
        self._set_suspended(entry, suspended=False)

    def _set_suspended(self, entry: Entry, *, suspended: bool) -> None:
        if entry.record.suspended != suspended:
            self._remember(entry, suspended=suspended)
            self._want(entry)
            self._refresh(entry)

    def _remember(self, entry: Entry, **changes: Any) -> None:
        entry.record = replace(entry.record, **changes)
        self._records.write(entry.name, entry.record)

    # -- what is so ---------------------------------------------------------------------------------------------

    def get(self, name: str) -> dict[str, Any]:
        """Give one Plugin resource: what was declared and its status; raises PluginNotFound."""
        entry = self._entries.get(name)
        if entry is None:
            if name in self._misfits:
                return _resource(name, None, self._misfits[name])
            raise PluginNotFound(f"there is no plugin {name!r}")
        return _resource(name, entry.manifest, self._status(entry))

    def names(self) -> list[str]:
        return sorted({*self._entries, *self._misfits})

    async def wait_ready(self, name: str, seconds: float) -> bool:
        """Wait until what serves is what is wanted; False when it was not within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not self._is_settled(name):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _is_settled(self, name: str) -> bool:
        self._entry(name)
        observed = self._runtime.observed(name)
        return observed is not None and observed.settled and not observed.suspended

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        if self._entry(name).workload is None:
            return
        async for line in self._runtime.logs(name, lines=lines, follow=follow):
            yield line

    def exited(self, instance: Instance, ended: Exit) -> None:
        """Take note of an end nobody asked for (given to the runtime as its listener)."""
        _log.warning(
            "%s ended: %s (exit code %s) %s", instance.plugin, ended.reason, ended.code, ended.message
        )
        self.bus.emit(
            InstanceExited(
                plugin=instance.plugin,
                instance=instance.id[:12],
                reason=ended.reason.value,
                exit_code=ended.code,
                message=ended.message,
            )
        )

    async def _follow(self) -> None:
        async for name in self._runtime.watch():
            entry = self._entries.get(name)
            if entry is not None:
                self._refresh(entry)

    def _refresh(self, entry: Entry) -> None:
        """Bring route, record and status in line with what is observed."""
        observed = self._runtime.observed(entry.name)
        if observed is not None:
            self._route(entry, observed)
            self._note_served(entry, observed)
        before, entry.status = entry.status, self._status(entry)
        if before is None or _differs(before, entry.status):
            self.bus.emit(StatusChanged(plugin=entry.name, before=before, after=entry.status))
        self._changed.set()

    def _status(self, entry: Entry) -> dict[str, Any]:
        observed = self._runtime.observed(entry.name)
        serving = observed.serving if observed else None
        facts = Facts(
            name=entry.name,
            generation=entry.record.generation,
            refused=entry.refused,
            observed=observed,
            suspended=entry.suspended,
            isolated=self._runtime.isolates(entry.workload),
            image=self._runtime.image(entry.workload),
            actions=entry.actions.get(serving.revision, []) if serving else [],
        )
        return build(facts, self._clock.time(), entry.status)

    def _route(self, entry: Entry, observed: Observed) -> None:
        if entry.workload is None:
            return
        serving = None if entry.suspended else observed.serving
        target = self.routes.target(serving.id, serving.endpoint) if serving and serving.endpoint else None
        expected = observed.expected_within(self._clock.time())
        route = Route(
            plugin=entry.name,
            manifest=entry.workload.manifest,
            target=target,
            hold=not entry.suspended and expected is not None and expected <= HOLD_SECONDS,
            retry_after=max(1.0, expected if expected is not None else 30.0),
        )
        if self.routes.get(entry.name) != route:
            self.routes.put(route)

    def _note_served(self, entry: Entry, observed: Observed) -> None:
        served, serving = observed.fallback, observed.serving
        if served is not None and entry.record.served != served:
            self._remember(entry, served=served)
        if observed.restarts != entry.record.restarts:
            self._remember(entry, restarts=observed.restarts)
        if serving is not None and serving.revision not in entry.actions and entry.describing is None:
            entry.describing = asyncio.create_task(self._describe(entry, serving))

    async def _describe(self, entry: Entry, serving: Instance) -> None:
        """Ask the runner for its actions, once a revision; what it says is bounded and only for show."""
        try:
            if serving.endpoint is not None:
                entry.actions = {serving.revision: await describe(serving.endpoint, DESCRIPTION_LIMIT)}
                self._refresh(entry)
        except UpstreamError as error:
            _log.warning("%s does not describe itself: %s", entry.name, error.detail)
        finally:
            entry.describing = None

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise PluginNotFound(f"there is no plugin {name!r}")
        return entry


def _resource(name: str, manifest: Manifest | None, status: Mapping[str, Any]) -> dict[str, Any]:
    declared: dict[str, Any] = dict(manifest.to_dict()) if manifest else {"metadata": {"name": name}}
    return {
        "apiVersion": "xcore.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {**declared["metadata"], "generation": status["observedGeneration"]},
        "spec": declared.get("spec", {}),
        "status": dict(status),
    }


def _differs(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return dict(before) != dict(after)
