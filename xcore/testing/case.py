"""What a suite of promises of a `Runtime` stands on: plugins as source, what a subclass gives, tools.

Conditions are awaited, never slept for; `pause` is the one place where time passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from xcore.errors import UpstreamError
from xcore.restart import Restarts
from xcore.runtimes.seams import Observed, Runtime
from xcore.workload import Instance, Workload

GOOD = """\
import os
import resource
from pathlib import Path
from xcore.plugin import Plugin, action

print("hello from the plugin", flush=True)

def told(file):
    # v1 or v2; in the group's own folder, or where that is the root
    folder, _, name = file.rpartition("/")
    top = Path("/sys/fs/cgroup") / folder
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if folder in controllers.split(","):
            for place in (top / group.strip("/"), top):
                try:
                    yield (place / name).read_text().strip()
                except OSError:
                    continue

class Main(Plugin):
    @action(safe=True)
    async def crash(self) -> None:
        os._exit(3)

    @action(safe=True)
    async def limits(self) -> dict[str, float]:
        tmp = os.statvfs("/tmp")
        files = [tmp.f_blocks * tmp.f_frsize, resource.getrlimit(resource.RLIMIT_FSIZE)[0]]
        memory = [resource.getrlimit(resource.RLIMIT_DATA)[0]]
        for of in ("memory.max", "memory/memory.limit_in_bytes"):
            memory += [int(text) for text in told(of) if text != "max"]
        cpu = [text.split() for text in told("cpu.max")]
        quotas = zip(told("cpu/cpu.cfs_quota_us"), told("cpu/cpu.cfs_period_us"))
        shares = [int(quota) / int(period) for quota, period in [*cpu, *quotas] if quota not in ("max", "-1")]
        return {"cpu": min(shares, default=0), "memory": min(m for m in memory if m > 0), "tmp": min(f for f in files if f > 0)}
"""
BETTER = GOOD + "\n# another revision\n"
BROKEN = GOOD + "\nraise RuntimeError('it cannot be loaded')\n"
SECONDS = 60.0
T = TypeVar("T")


class RuntimeCase:
    """`adopts`: instances outlive their runtime, and the next one takes them up."""

    adopts = True

    # -- what the subclass gives --------------------------------------------------------------------------------

    async def make(self, owner: str = "first") -> Runtime:
        """Give an opened runtime over the one engine (or host) of this test, acting for this owner."""
        raise NotImplementedError

    def workload(self, source: str, *, name: str = "hello", generation: int = 1, **spec: Any) -> Workload:
        """Give a plugin with this `main.py` (entry point `main:Main`); equal sources have equal revisions."""
        raise NotImplementedError

    async def crash(self, instance: Instance) -> None:
        """End it from inside, with exit code 3."""
        assert instance.endpoint is not None
        with contextlib.suppress(UpstreamError):
            await instance.endpoint.get(f"/app/{instance.plugin}/crash", seconds=5, limit=1024)

    async def limits(self, instance: Instance) -> Mapping[str, float]:
        """Give what it finds it may use at most: `cpu` in cores, `memory` and `tmp` in bytes."""
        assert instance.endpoint is not None
        path = f"/app/{instance.plugin}/limits"
        status, body = await instance.endpoint.get(path, seconds=5, limit=1024)
        assert status == 200, body
        found: dict[str, float] = json.loads(body)
        return found

    async def leave(self, runtime: Runtime) -> None:
        """End a runtime and what it runs."""
        try:
            await self.during(runtime.stop_all())
        finally:
            await runtime.aclose()

    async def pause(self) -> None:
        """Let a little time pass."""
        await asyncio.sleep(0.02)

    # -- tools --------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self, owner: str = "first") -> AsyncIterator[Runtime]:
        """Give a runtime for a while and leave nothing behind."""
        runtime = await self.make(owner)
        try:
            yield runtime
        finally:
            await self.leave(runtime)

    async def during(self, work: Any) -> None:
        """Let time pass until some work is done."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.pause()
        await task

    async def until(self, condition: Callable[[], T | None], what: str) -> T:
        end = time.monotonic() + SECONDS
        while not (value := condition()):
            assert time.monotonic() < end, f"not so within {SECONDS:g} s: {what}"
            await self.pause()
        return value

    async def serving(self, runtime: Runtime, workload: Workload) -> Instance:
        """Wait until exactly this is served, alone; returns the instance."""

        def settled() -> Instance | None:
            now = runtime.observed(workload.name)
            alone = now is not None and now.settled and len(now.instances) == 1 and not now.leaving
            return now.serving if now is not None and alone and now.wanted == workload else None

        return await self.until(settled, f"{workload.name} serves what is wanted")

    @staticmethod
    def living(runtime: Runtime, name: str = "hello") -> bool:
        """Tell whether anything of it runs."""
        now = runtime.observed(name)
        return now is None or any(instance.exit is None for instance in (*now.instances, *now.leaving))

    @staticmethod
    def want(
        runtime: Runtime, workload: Workload, *, fallback: Workload | None = None, suspended: bool = False
    ) -> None:
        runtime.apply(workload, fallback=fallback, suspended=suspended, history=Restarts())

    @staticmethod
    def seen(runtime: Runtime, name: str = "hello") -> Observed:
        observed = runtime.observed(name)
        assert observed is not None
        return observed
