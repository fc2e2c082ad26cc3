"""From what is observed to what others see: route, record, status, events. Each look brings them in line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from xcore.clock import Clock
from xcore.describe import describe
from xcore.entry import Entry
from xcore.errors import StorageFull, UpstreamError, XcoreError
from xcore.manifest import Manifest
from xcore.records import Record, Records
from xcore.routes import HOLD_SECONDS, Route, RouteTable
from xcore.runtimes.seams import Observed, Runtime
from xcore.status import Facts, build
from xcore.workload import Exit, Instance
from xcore.xhooks import HookBus, ImpostorFound, InstanceExited, StatusChanged

PREPARING_RETRY = 5.0  # seconds a caller is told to wait for packed dependencies or an image
DESCRIPTION_LIMIT = 1024 * 1024
_log = logging.getLogger("xcore.manager")


@dataclass(slots=True, eq=False)
class Mirror:
    """Knows no wish: it reads the runtime and writes the rest. `changed` is set after every look."""

    runtime: Runtime
    records: Records
    clock: Clock
    routes: RouteTable
    bus: HookBus
    changed: asyncio.Event

    def refresh(self, entry: Entry) -> None:
        observed = self.runtime.observed(entry.name)
        before, entry.status = entry.status, self.status(entry)
        if observed is not None:
            self._route(entry, observed, entry.status)
            self._note(entry, observed)
            self._ask(entry, observed.serving)
        elif entry.manifest is not None:
            self._announce(entry.name, entry.manifest, entry.refused)
        if before != entry.status:
            self.bus.emit(StatusChanged(plugin=entry.name, before=before, after=entry.status))
        self.changed.set()

    def exited(self, instance: Instance, ended: Exit) -> None:
        """Take note of an end nobody asked for."""
        plugin, reason, code = instance.plugin, ended.reason.value, ended.code
        _log.warning("%s ended: %s (exit code %s) %s", plugin, reason, code, ended.message)
        self.bus.emit(
            InstanceExited(
                plugin=plugin, instance=instance.id[:12], reason=reason, exit_code=code, message=ended.message
            )
        )

    def impostor(self, plugin: str, detail: str) -> None:
        """Take note that somebody else answered where a sandbox should: for the audit."""
        _log.warning("%s: %s", plugin, detail)
        self.bus.emit(ImpostorFound(plugin=plugin, detail=detail))

    def status(self, entry: Entry) -> dict[str, Any]:
        observed = self.runtime.observed(entry.name)
        serving = observed.serving if observed else None
        facts = Facts(
            name=entry.name,
            generation=entry.generation,
            refused=entry.refused,
            pending=entry.pending,
            observed=observed,
            suspended=entry.suspended,
            isolated=self.runtime.isolates(entry.workload),
            image=self.runtime.image(entry.workload) if entry.workload is not None else "",
            rivals=entry.rivals,
            actions=entry.actions.get(serving.revision, ()) if serving else (),
        )
        return build(facts, self.clock.time(), entry.status)

    def _announce(self, name: str, manifest: Manifest, refused: XcoreError | None) -> None:
        """There will be a plugin of this name when it is prepared: callers are told to come back."""
        reason = refused.reason if refused is not None else "Preparing"
        route = Route(name, manifest, reason=reason, retry_after=PREPARING_RETRY)
        if self.routes.get(name) != route:
            self.routes.put(route)

    def _route(self, entry: Entry, observed: Observed, status: Mapping[str, Any]) -> None:
        if entry.workload is None:
            return
        receiving = () if entry.suspended else observed.receiving
        targets = tuple(self.routes.target(entry.name, i.id, i.endpoint) for i in receiving if i.endpoint)
        expected = observed.expected_within(self.clock.time())
        route = Route(
            plugin=entry.name,
            manifest=entry.workload.manifest,
            targets=targets,
            reason="" if targets else next(c["reason"] for c in status["conditions"] if c["type"] == "Ready"),
            hold=not entry.suspended and expected is not None and expected <= HOLD_SECONDS,
            retry_after=max(1.0, expected if expected is not None else 30.0),
        )
        if self.routes.get(entry.name) != route:
            self.routes.put(route)

    def _note(self, entry: Entry, observed: Observed) -> None:
        """Remember what was good and what was spent; a full disk is told, and tried again at the next look."""
        served = observed.fallback or entry.record.served
        record = replace(entry.record, served=served, restarts=observed.restarts)
        if record == entry.record:
            return
        try:
            self.remember(entry, record)
        except StorageFull as error:
            _log.warning("%s: what is known of it could not be stored: %s", entry.name, error.detail)

    def remember(self, entry: Entry, record: Record) -> None:
        """Store first: what is not on disk was not promised. Raises StorageFull."""
        self.records.write(entry.name, record)
        entry.record = record

    def _ask(self, entry: Entry, serving: Instance | None) -> None:
        """Ask the runner for its actions, once a revision; what it says is bounded and only for show."""
        if serving is None or serving.revision in entry.actions or entry.describing is not None:
            return
        if entry.manifest is not None and entry.manifest.spec.source.image is not None:
            return  # no runner of ours is in there: its paths are its own
        entry.describing = asyncio.create_task(self._describe(entry, serving))

    async def _describe(self, entry: Entry, serving: Instance) -> None:
        try:
            if serving.endpoint is not None:
                entry.actions = {serving.revision: await describe(serving.endpoint, DESCRIPTION_LIMIT)}
        except UpstreamError as error:
            _log.warning("%s does not describe itself: %s", entry.name, error.detail)
            return
        finally:
            entry.describing = None
        self.refresh(entry)
