"""What a plugin keeps in its storage outlives its pods, and the plugin where it is to be retained."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.fixtures import Cluster
from tests.conformance.support import Workshop
from tests.kubernetes.storage import volume
from tests.support import until
from xcore.restart import Restarts
from xcore.runtimes.kubernetes.client import connect
from xcore.runtimes.kubernetes.objects import Surroundings
from xcore.runtimes.kubernetes.runtime import KubernetesRuntime
from xcore.workload import Workload

pytestmark = pytest.mark.kubernetes

CODE = """\
from pathlib import Path
from xcore.plugin import Plugin, action

class Main(Plugin):
    @action(safe=True)
    async def visits(self) -> int:
        file = Path("/data/visits")
        count = int(file.read_text()) + 1 if file.exists() else 1
        file.write_text(str(count))
        return count
"""


@pytest.fixture
def kept(cluster: Cluster, namespace: str) -> Iterator[None]:
    """A piece of the node's disk, for the first claim of this namespace."""
    directory = Path(tempfile.mkdtemp(prefix="xcore-volume-"))
    directory.chmod(0o777)
    with volume(cluster, namespace, "xcore-hello-kept", directory, "16Mi"):
        yield
    shutil.rmtree(directory)


async def visits(runtime: KubernetesRuntime) -> int:
    observed = runtime.observed("hello")
    assert observed is not None
    assert observed.serving is not None
    assert observed.serving.endpoint is not None
    status, body = await observed.serving.endpoint.get("/app/hello/visits", seconds=5, limit=100)
    assert status == 200, body
    return int(body)


async def settled(runtime: KubernetesRuntime) -> None:
    def is_so() -> bool:
        observed = runtime.observed("hello")
        return observed is not None and observed.settled

    await until(is_so, seconds=60)


async def serve(runtime: KubernetesRuntime, workload: Workload) -> None:
    runtime.apply(workload, fallback=None, suspended=False, history=Restarts())
    await settled(runtime)


async def test_storage_outlives_a_restart_and_the_plugin(
    cluster: Cluster, namespace: str, sandbox_image: str, kept: None, tmp_path: Path
) -> None:
    """It counts on after a new pod, and after the plugin was deleted and made anew."""
    reached = await connect(str(cluster.kubeconfig))
    runtime = KubernetesRuntime(reached, Surroundings(sandbox_image, namespace), namespaces=[namespace])
    await runtime.open()
    storage = [{"name": "kept", "mountPath": "/data", "size": "16Mi"}]
    workload = Workshop(tmp_path).workload(CODE, name="hello", generation=1, storage=storage)
    try:
        await serve(runtime, workload)
        assert await visits(runtime) == 1
        runtime.restart("hello", workload)
        await settled(runtime)
        assert await visits(runtime) == 2
        await runtime.remove("hello")
        assert cluster.get("pods", "--namespace", namespace) == []
        await serve(runtime, workload)
        assert await visits(runtime) == 3
    finally:
        await runtime.aclose()
        await reached.aclose()
