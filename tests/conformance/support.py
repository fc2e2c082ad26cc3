"""Workloads from the text of a `main.py`, and the suite that every real runtime passes with them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.support import document
from xcore.bundle import Snapshots, revision
from xcore.manifest import from_dict
from xcore.testing import RuntimeContract
from xcore.workload import Workload


class Workshop:
    """Keeps the code of workloads below a directory that sandboxes can read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._snapshots = Snapshots(directory / "snapshots")

    def workload(self, source: str, *, name: str, generation: int, **spec: Any) -> Workload:
        folder = self._directory / "code" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.py").write_text(source)
        digest, code = self._snapshots.take(folder)
        manifest = from_dict(document(name, **{"entrypoint": "main:Main", **spec}))
        return Workload(manifest, revision(digest, manifest), generation, code)


class RealContract(RuntimeContract):
    """With instances that run this code. `PAUSE`: seconds between two looks."""

    PAUSE = 0.05
    workshop: Workshop

    def workload(self, source: str, *, name: str = "hello", generation: int = 1, **spec: Any) -> Workload:
        return self.workshop.workload(source, name=name, generation=generation, **spec)

    async def pause(self) -> None:
        await asyncio.sleep(self.PAUSE)
