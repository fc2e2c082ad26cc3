"""Proof that an engine can really be used from here: one sandbox is started, reached through its socket, removed."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from xcore.bundle import Snapshots
from xcore.errors import RuntimeUnavailable, UpstreamError
from xcore.manifest import from_dict
from xcore.runtimes.seams import Engine
from xcore.workload import Instance, Workload

NAME = "xcore-trial"
SECONDS = 20.0
_CODE = "from xcore.plugin import Plugin\n\n\nclass Trial(Plugin):\n    pass\n"


async def trial(engine: Engine, state_dir: Path) -> None:
    """Return when a sandbox answered; raises XcoreError with the reason when none did."""
    digest, code = await asyncio.to_thread(_snapshot, state_dir / "snapshots")
    manifest = from_dict(
        {
            "apiVersion": "xcore.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {"name": NAME},
            "spec": {"entrypoint": "main:Trial"},
        }
    )
    instance = await engine.start(Workload(manifest, digest, 0, code))
    try:
        await _reach(instance)
    finally:
        await engine.stop(instance, grace=1.0)
        await engine.remove(instance)


def _snapshot(directory: Path) -> tuple[str, Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "main.py").write_text(_CODE, "ascii")
        return Snapshots(directory).take(Path(folder))


async def _reach(instance: Instance) -> None:
    why = "it has no endpoint"
    try:
        async with asyncio.timeout(SECONDS):
            while instance.endpoint is not None:
                try:
                    status, _ = await instance.endpoint.get("/startup", seconds=1.0, limit=1024)
                except UpstreamError as error:
                    why = error.detail
                else:
                    if status == 200:
                        return
                    why = f"it answered {status}"
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    raise RuntimeUnavailable(f"a trial sandbox was started but could not be reached: {why}")
