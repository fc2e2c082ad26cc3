"""The controller, installed by Helm and running inside a real cluster."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from manifests.render import INSTALL
from tests.cluster.commands import ClusterError, wait_for
from tests.kubernetes.release import Release, released
from tests.kubernetes.rendering import NAMESPACE, ROOT

pytestmark = pytest.mark.kubernetes


@pytest.fixture(scope="module")
def installed(cluster, controller_image) -> Iterator[Release]:
    with released(cluster, controller_image.rpartition(":")[2]) as release:
        release.helm("install", "--wait", "--timeout=90s")
        yield release


def test_helm_test_passes(installed):
    """A plugin is sent to the controller in the cluster, called through its Service, and deleted."""
    try:
        installed.cluster.helm("test", "xcore", "--namespace", installed.name, "--timeout=150s")
    except ClusterError as error:
        error.add_note(installed.cluster.kubectl("logs", "xcore-round-trip", "--namespace", installed.name))
        raise
    assert installed.cluster.get("plugins", "--namespace", installed.plugins) == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_notes_work_when_pasted(installed):
    """What Helm prints leads, command by command, to the first plugin's answer."""
    cluster = installed.cluster
    notes = cluster.helm("get", "notes", "xcore", "--namespace", installed.name)
    port = free_port()
    text = "\n".join(re.findall(r"^  (.*)$", notes, re.MULTILINE)).replace("8000", str(port))
    forward, commands = text.split("\n", 1)
    assert forward.startswith("kubectl -n")
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "PATH": f"{cluster.kubectl_path.parent}:{os.environ['PATH']}",
    }
    forwarding = subprocess.Popen(
        ["sh", "-c", f"exec {forward}"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: listens(port), "the forwarded port")
        pasted = commands.partition("helm test")[0].replace("curl ", "curl --fail --silent ")
        done = subprocess.run(
            ["sh", "-euc", pasted], env=environment, capture_output=True, text=True, check=False, timeout=100
        )
    finally:
        forwarding.terminate()
        forwarding.wait(10)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith('"Hello Ada"')


PER_SECOND = 100


async def _call_until(done: asyncio.Event, client: httpx.AsyncClient) -> Counter[str]:
    """Call at a steady pace, whatever becomes of the calls before; count what came of each."""
    outcomes: Counter[str] = Counter()

    async def call() -> None:
        try:
            answer = await client.post("/app/hello/greet", json={"name": "Ada"})
            outcomes[f"{answer.status_code} {answer.text}" if answer.status_code != 200 else "200"] += 1
        except httpx.HTTPError as error:
            outcomes[repr(error)] += 1

    calls = set()
    while not done.is_set():
        calls.add(asyncio.create_task(call()))
        await asyncio.sleep(1 / PER_SECOND)
    await asyncio.gather(*calls)
    return outcomes


@pytest.fixture
def shared(installed, database_of) -> Iterator[dict[str, str]]:
    """Values for two controllers, which share a database."""
    yield {"replicas": "2", **database_of(installed)}
    installed.helm("upgrade", "--wait", "--timeout=90s")  # the tests after this one have none


async def test_an_upgrade_under_load_loses_no_request(installed, shared):
    """Two replicas on one PostgreSQL, 100 requests a second through the Service, a changed value: every request is answered.

    An order with an Idempotency-Key that comes twice is carried out once, whichever replica is asked.
    """
    cluster = installed.cluster
    installed.helm("upgrade", "--wait", "--timeout=120s", **shared)
    cluster.kubectl(
        "apply", "--namespace", installed.plugins, "-f", str(ROOT / "examples/kubernetes/hello.yaml")
    )
    cluster.kubectl(
        "wait", "--for=condition=Ready", "plugin/hello", "--namespace", installed.plugins, "--timeout=60s"
    )
    address = cluster.get("service", "xcore", "--namespace", installed.name)["spec"]["clusterIP"]
    key, done = {"Authorization": f"Bearer {installed.key()}"}, asyncio.Event()
    async with httpx.AsyncClient(base_url=f"http://{address}", headers=key, timeout=30) as client:
        load = asyncio.create_task(_call_until(done, client))
        changed = {**shared, "podAnnotations.changed": "yes"}
        try:
            await asyncio.to_thread(installed.helm, "upgrade", "--wait", "--timeout=120s", **changed)
        finally:
            done.set()
        outcomes = await load
    assert set(outcomes) == {"200"}, outcomes
    assert outcomes["200"] > 3 * PER_SECOND
    once = {**key, "Idempotency-Key": "restart-1"}
    generations = set()
    for _ in range(6):  # a connection each: the Service picks the replica
        async with httpx.AsyncClient(base_url=f"http://{address}", headers=once, timeout=30) as client:
            answer = await client.post("/api/v1/plugins/hello/restart")
            assert answer.status_code == 202, answer.text
            generations.add(answer.content)
    assert len(generations) == 1


@pytest.fixture
def applied(cluster, controller_image) -> Iterator[tuple[str, str]]:
    """What manifests/install.yaml makes, in namespaces of the test's own: the controller's and that of plugins."""
    text = (ROOT / INSTALL).read_text("utf-8")
    own, plugins = (f"{name}-{secrets.token_hex(3)}" for name in (NAMESPACE, "xcore-plugins"))
    text = text.replace(NAMESPACE, own).replace("xcore-plugins", plugins)
    cluster.kubectl("apply", "-f", "-", input=text)
    try:
        yield own, plugins
    finally:
        rights = ("clusterrole,clusterrolebinding", f"{own}-xcore")
        cluster.kubectl("delete", *rights, "--ignore-not-found")
        cluster.kubectl("delete", "namespace", own, plugins, "--wait=false")


def test_without_helm_an_example_becomes_ready(cluster, applied):
    """`kubectl apply` of install.yaml, of an example, `kubectl wait`: and the plugin answers."""
    own, plugins = applied
    cluster.kubectl("rollout", "status", "deployment/xcore", "--namespace", own, "--timeout=90s")
    cluster.kubectl("apply", "--namespace", plugins, "-f", str(ROOT / "examples/kubernetes/hello.yaml"))
    cluster.kubectl("wait", "--for=condition=Ready", "plugin/hello", "--namespace", plugins, "--timeout=60s")
    (pod,) = cluster.get("pods", "--namespace", plugins, "--selector=!xcore.dev/probe")
    assert pod["status"]["phase"] == "Running"
