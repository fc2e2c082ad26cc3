"""Whether a plugin's network is closed is found out by trying, and a class may demand it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.fixtures import Cluster
from tests.conformance.support import Workshop
from tests.support import until
from xcore.clock import SystemClock
from xcore.restart import Restarts
from xcore.runtimes.kubernetes.client import connect
from xcore.runtimes.kubernetes.objects import Surroundings
from xcore.runtimes.kubernetes.probe import OPEN_SECONDS
from xcore.runtimes.kubernetes.runtime import KubernetesRuntime
from xcore.testing import GOOD

pytestmark = pytest.mark.kubernetes


class Clock(SystemClock):
    """The real one, which a test may put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


async def test_isolation_is_what_a_pod_of_the_plugins_own_finds(
    cluster: Cluster, namespace: str, sandbox_image: str, enforcer: Callable[[bool], None], tmp_path: Path
) -> None:
    """Without an enforcer: NotEnforced, what was reached is named, and where proof is demanded no requests come. With one: Enforced, and they do."""
    enforcer(False)
    reached = await connect(str(cluster.kubeconfig))
    surroundings = Surroundings(sandbox_image, namespace, listens=(reached.address,))
    clock = Clock()
    runtime = KubernetesRuntime(reached, surroundings, namespaces=[namespace], clock=clock)
    await runtime.open()
    try:
        workload = replace(Workshop(tmp_path).workload(GOOD, name="hello", generation=1), proof=True)
        runtime.apply(workload, fallback=None, suspended=False, history=Restarts())
        await until(lambda: runtime.isolates(workload)[1] == "NotEnforced", seconds=60)
        status, _, message = runtime.isolates(workload)
        assert status == "False"
        assert f"{reached.address[0]}:{reached.address[1]}" in message
        observed = runtime.observed("hello")
        assert observed is not None
        assert observed.serving is not None
        assert (observed.receiving, observed.withheld) == ((), "NotEnforced")
        assert len(observed.instances) == 1, "a probe is no instance"

        enforcer(True)
        clock.ahead += OPEN_SECONDS
        runtime.poke("hello")
        await until(lambda: runtime.isolates(workload)[1] == "Enforced", seconds=60)
        observed = runtime.observed("hello")
        assert observed is not None
        assert len(observed.receiving) == 1
    finally:
        await runtime.aclose()
        await reached.aclose()
        await asyncio.sleep(0)
