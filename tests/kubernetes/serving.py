"""A release that serves, and a steady stream of calls to it: what is asked of it is who answered, and who did not."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.cluster.commands import ClusterError
from tests.kubernetes.release import Release

PER_SECOND = 50
PORT = 8000
CONTROLLERS = "--selector=app.kubernetes.io/component=controller"


@dataclass
class Calls:
    """What came of each call: "200", or all of what was answered instead."""

    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        return self.outcomes["200"]

    @property
    def failed(self) -> dict[str, int]:
        return {outcome: times for outcome, times in self.outcomes.items() if outcome != "200"}

    async def more(self, number: int) -> None:
        """Return when so many more were answered."""
        wanted = self.answered + number
        await until(
            lambda: self.answered >= wanted, f"{number} more answers", seconds=2 * number / PER_SECOND + 10
        )


@asynccontextmanager
async def calling(
    url: str, key: str, *, action: str = "hello/greet", per_second: int = PER_SECOND
) -> AsyncIterator[Calls]:
    """Call at a steady pace, whatever becomes of the calls before; those under way at the end are waited for."""
    calls, under_way = Calls(), set[asyncio.Task[None]]()
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False) as client:

        async def call() -> None:
            try:
                answer = await client.post(f"/app/{action}", json={})
                outcome = "200" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"
            except httpx.HTTPError as error:
                outcome = repr(error)
            calls.outcomes[outcome] += 1

        async def pace() -> None:
            while True:
                task = asyncio.create_task(call())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                await asyncio.sleep(1 / per_second)

        pacing = asyncio.create_task(pace())
        try:
            yield calls
        finally:
            pacing.cancel()
            await asyncio.gather(pacing, *under_way, return_exceptions=True)


async def until(condition: Callable[[], bool], what: str, *, seconds: float, every: float = 0.1) -> float:
    """Return when it holds, with the seconds it took; it may block, and does so in a thread."""
    started = time.monotonic()
    while not await asyncio.to_thread(condition):
        if time.monotonic() > started + seconds:
            raise ClusterError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(every)
    return time.monotonic() - started


def service_of(release: Release) -> str:
    """URL of the controller's Service."""
    return f"http://{release.cluster.get('service', 'xcore', '-n', release.name)['spec']['clusterIP']}"


def controllers(release: Release) -> dict[str, str]:
    """The controller's pods that live, with the URL of each."""
    pods = release.cluster.get("pods", "-n", release.name, CONTROLLERS)
    return {
        pod["metadata"]["name"]: f"http://{pod['status'].get('podIP')}:{PORT}"
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }


def scale(release: Release, replicas: int) -> None:
    """Ask for so many instances of hello."""
    release.cluster.kubectl("scale", "plg/hello", "-n", release.plugins, f"--replicas={replicas}")


def carried_out(release: Release, replicas: int) -> bool:
    """Whether a leader has asked the cluster for so many."""
    found = release.cluster.get("deployment", "xcore-hello", "-n", release.plugins)
    return bool(found["spec"]["replicas"] == replicas)
