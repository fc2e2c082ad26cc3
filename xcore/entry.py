"""One plugin as the manager knows it, and the Plugin resource that is shown of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xcore.errors import XcoreError
from xcore.loader import Declared
from xcore.manifest import API_VERSION, KIND, Manifest
from xcore.records import Record
from xcore.spec import OperatingMode
from xcore.workload import Workload


@dataclass(slots=True)
class Entry:
    """`workload` is what was last accepted, `refused` why the newest was not, `pending` what it waits for, `actions` those of each revision.

    `rivals`: who else wants the name, in words.
    """

    name: str
    folder: str
    record: Record
    manifest: Manifest | None = None
    workload: Workload | None = None
    refused: XcoreError | None = None
    pending: str = ""
    status: dict[str, Any] | None = None
    actions: dict[str, Sequence[str]] = field(default_factory=dict)
    describing: asyncio.Task[None] | None = None
    rivals: Sequence[str] = ()
    judged: int | None = None  # of a resource in a cluster: the generation that was accepted or refused last

    @property
    def generation(self) -> int:
        """The one that the status is of."""
        return self.record.generation if self.judged is None else self.judged

    @property
    def declared_suspended(self) -> bool:
        return self.manifest is not None and self.manifest.spec.operating_mode is OperatingMode.SUSPENDED

    @property
    def suspended(self) -> bool:
        return self.declared_suspended or self.record.suspended

    @property
    def uses(self) -> list[Workload]:
        """Give the workloads whose code must stay."""
        return [workload for workload in (self.workload, self.record.served) if workload is not None]


def resource(name: str, manifest: Manifest | None, status: Mapping[str, Any]) -> dict[str, Any]:
    """Give a Plugin resource: what was declared (as far as it was understood) and its status."""
    declared: dict[str, Any] = dict(manifest.to_dict()) if manifest else {"metadata": {"name": name}}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {**declared["metadata"], "generation": status["observedGeneration"]},
        "spec": declared.get("spec", {}),
        "status": dict(status),
    }


def workload_of(declared: Declared, manifest: Manifest, generation: int) -> Workload:
    """Give what is to run of what was declared and accepted."""
    return Workload(
        manifest=manifest,
        revision=declared.revision,
        generation=generation,
        code=declared.code,
        site=declared.site,
        image=declared.image,
        origin=declared.origin,
        proof=declared.proof,
    )


def wants_the_same(workload: Workload, declared: Declared) -> bool:
    before = workload.revision, workload.manifest, workload.proof
    return before == (declared.revision, declared.manifest, declared.proof)
