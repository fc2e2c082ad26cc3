"""One plugin that is wanted in a cluster, and what is so for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xcore.errors import XcoreError
from xcore.runtimes.kubernetes.client import Object
from xcore.runtimes.kubernetes.found import (
    complete,
    failure_of,
    instance_of,
    leaves,
    living,
    restarted_of,
    revision_of,
)
from xcore.runtimes.kubernetes.objects import PLUGIN
from xcore.runtimes.kubernetes.probe import PROBE
from xcore.runtimes.kubernetes.state import State, read
from xcore.runtimes.seams import Observed
from xcore.workload import Workload

NAME = "kubernetes"


@dataclass(slots=True, eq=False)
class Kept:
    """One plugin that is wanted; `failure`: why it could not be brought in line."""

    workload: Workload
    suspended: bool
    wanted_at: float
    failure: XcoreError | None = None
    restarted: str = ""  # when a restart was asked for here
    missing: XcoreError | None = None  # what its pods wait for
    state: State | None = None  # as this replica wrote it last: its mirror may be behind

    def state_by(self, deployment: Object | None) -> State:
        """Give what is remembered of it."""
        return self.state or read(deployment)


def observe(
    kept: Kept, deployment: Object | None, pods: Sequence[Object], *, away: XcoreError | None
) -> Observed:
    """Read it from the cluster's objects. `away`: why they may be old."""
    workload, state = kept.workload, kept.state_by(deployment)
    instances = living(pods)
    broken = state.broken[1] if state.broken[0] == workload.revision else ""
    done = (
        deployment is not None
        and revision_of(deployment) == workload.revision
        and restarted_of(deployment) >= kept.restarted
        and complete(deployment)
    )
    return Observed(
        plugin=workload.name,
        runtime=NAME,
        wanted=workload,
        suspended=kept.suspended,
        instances=instances,
        restarts=state.restarts,
        broken=broken,
        failure=kept.failure or away or failure_of(deployment, pods) or kept.missing,
        fallback=workload if state.served == workload.revision else None,
        settled=done and bool(instances) and not broken,
        leaving=tuple(instance_of(pod) for pod in pods if leaves(pod)),
        wanted_at=kept.wanted_at,
        withheld="" if state.verdict.closed or not workload.proof else state.verdict.condition[1],
        spread=True,
        selector=f"{PLUGIN}={workload.name},!{PROBE}",
    )
