"""What controllers in a cluster keep in their database: SQLite on a claim of its own, and the runs of tasks, once for all replicas."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.commands import wait_for
from tests.cluster.fixtures import Cluster
from tests.kubernetes.release import Release, released
from tests.kubernetes.remote import Remote, coded, remote_of
from tests.kubernetes.serving import controllers
from tests.kubernetes.storage import volume
from tests.kubernetes.wanting import apply, delete, ready

pytestmark = pytest.mark.kubernetes
EVERY = 10
TICKER = """
    from xcore.plugin import Plugin, action

    class Ticker(Plugin):
        def __init__(self) -> None:
            self.ticks = 0

        @action
        async def tick(self) -> int:
            self.ticks += 1
            return self.ticks

        @action(safe=True)
        async def count(self) -> int:
            return self.ticks
"""


def runs(remote: Remote) -> list[dict[str, Any]]:
    """Those of the ticker that have ended, the oldest first."""
    answer = remote.request("GET", "/api/v1/tasks/ticker.tick/runs")
    found = answer.json["items"] if answer.status == 200 else []
    return [run for run in reversed(found) if run["ended"]]


def test_a_task_runs_once_for_all_replicas_and_goes_on_without_the_one_that_ran_it(pair: Release) -> None:
    """Two controllers in pods: each time has one run, each run was one call, and when one controller is gone the other goes on."""
    ticker = coded("ticker", TICKER, "Ticker", schedules=[{"action": "tick", "everySeconds": EVERY}])
    remote = remote_of(pair)
    apply(pair, *ticker)
    try:
        ready(pair, "ticker")
        wait_for(lambda: len(runs(remote)) >= 2, "two runs", seconds=5 * EVERY)
        for name in controllers(pair):
            before = len(runs(remote))
            pair.cluster.kubectl("delete", "pod", name, "-n", pair.name, "--wait=false")
            wait_for(lambda before=before: len(runs(remote)) > before, "one more run", seconds=5 * EVERY)
        found = runs(remote)
        assert {run["state"] for run in found} == {"Succeeded"}
        assert len({run["due"] for run in found}) == len(found)
        assert [run["output"] for run in found] == [str(number) for number in range(1, len(found) + 1)]
        assert remote.request("GET", "/app/ticker/count").json - len(found) in {0, 1}  # one may be under way
    finally:
        delete(pair, *ticker)
        pair.cluster.kubectl("rollout", "status", "deployment/xcore", "-n", pair.name, "--timeout=90s")


@pytest.fixture
def kept(cluster: Cluster, controller_image: str) -> Iterator[Release]:
    """A controller whose SQLite lies on a piece of the node's disk."""
    directory = Path(tempfile.mkdtemp(prefix="xcore-volume-"))
    directory.chmod(0o777)
    tag = controller_image.rpartition(":")[2]
    with released(cluster, tag) as release, volume(cluster, release.name, "xcore", directory):
        release.helm("install", "--wait", "--timeout=120s", **{"database.volume.enabled": "true"})
        yield release
        cluster.helm("uninstall", "xcore", "--namespace", release.name, "--wait")
        assert cluster.get("persistentvolumeclaim", "xcore", "-n", release.name), "it keeps the rows"
    shutil.rmtree(directory)


def test_rows_on_a_claim_outlive_the_controller(kept: Release) -> None:
    """A key that was made is good after the pod was replaced, and after an upgrade; one that was revoked is not."""
    remote = remote_of(kept)
    made = [
        remote.request("POST", "/api/v1/keys", json={"name": name, "role": "viewer"}).json
        for name in ("kept", "revoked")
    ]
    assert remote.request("DELETE", f"/api/v1/keys/{made[1]['id']}").status in {200, 202, 204}
    (before,) = controllers(kept)
    kept.cluster.kubectl("delete", "pod", before, "-n", kept.name)
    kept.cluster.kubectl("rollout", "status", "deployment/xcore", "-n", kept.name, "--timeout=90s")
    assert list(controllers(kept)) != [before]

    def codes() -> list[int]:
        return [Remote(kept, remote.url, key["key"]).request("GET", "/api/v1/plugins").status for key in made]

    wait_for(lambda: codes() == [200, 401], f"the keys as they were; {codes()}", seconds=20)
    values = {"database.volume.enabled": "true", "podAnnotations.changed": "yes"}
    kept.helm("upgrade", "--wait", "--timeout=120s", **values)
    wait_for(lambda: codes() == [200, 401], f"the keys as they were; {codes()}", seconds=20)
    audit = remote.request("GET", "/api/v1/audit").json["items"]
    told = [(entry["method"], entry["path"].partition("/api/v1/")[2]) for entry in reversed(audit)]
    assert told == [("POST", "keys"), ("POST", "keys"), ("DELETE", f"keys/{made[1]['id']}")]
