"""Removing what no plugin uses any more: instances and records of earlier controllers, code, dependencies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Iterable, Sequence
from typing import Protocol

from xcore.entry import Entry
from xcore.errors import RuntimeUnavailable, StorageFull
from xcore.records import Records
from xcore.runtimes.seams import Runtime

_log = logging.getLogger("xcore.manager")


class Collector(Protocol):
    """Where directories named by their content lie: `collect` removes those nobody uses, and nothing new. Blocks."""

    def collect(self, used: frozenset[str]) -> object: ...


async def sweep_unwanted(runtime: Runtime, records: Records, wanted: Container[str]) -> bool:
    """After the first whole look at what is wanted: remove what an earlier controller left. True when all is done."""
    try:
        records.keep_only(wanted)
        for name in await runtime.sweep():
            _log.info("removed an instance nobody wants: %s", name[:12])
    except (RuntimeUnavailable, StorageFull) as error:
        _log.warning("what nobody wants is looked for again at the next sync: %s", error.detail)
        return False
    return True


async def collect_unused(entries: Iterable[Entry], runtime: Runtime, collectors: Sequence[Collector]) -> None:
    """Collect, unless some instance still runs a revision that no entry knows."""
    entries = list(entries)
    if not all(_runs_only_known(entry, runtime) for entry in entries):
        return
    used = (workload for entry in entries for workload in entry.uses)
    kept = frozenset(directory.name for workload in used for directory in workload.directories)
    for collector in collectors:
        await asyncio.to_thread(collector.collect, kept)


def _runs_only_known(entry: Entry, runtime: Runtime) -> bool:
    observed = runtime.observed(entry.name)
    running = (*observed.instances, *observed.leaving) if observed else ()
    return {instance.revision for instance in running} <= {w.revision for w in entry.uses}
