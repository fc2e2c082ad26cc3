"""Removing code and dependencies that no plugin uses any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from xcore.entry import Entry
from xcore.runtimes.seams import Runtime


class Collector(Protocol):
    """Where directories named by their content lie: `collect` removes those nobody uses, and nothing new. Blocks."""

    def collect(self, used: frozenset[str]) -> object: ...


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
