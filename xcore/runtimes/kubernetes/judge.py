"""What to make of what is found: ready, given up, or asked for anew. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xcore.restart import forgiven
from xcore.runtimes.kubernetes.client import Object
from xcore.runtimes.kubernetes.found import complete, ends, late, restarted_of, revision_of, revision_of_pod
from xcore.runtimes.kubernetes.state import State
from xcore.spec import OnFailure
from xcore.workload import Workload


def judged(workload: Workload, deployment: Object | None, pods: Sequence[Object], state: State) -> State:
    """Take note of what became ready, what does not, and what is asked for anew."""
    if deployment is None:
        return state
    asked, running = restarted_of(deployment), revision_of(deployment)
    # First of all, for by now another may be wanted: what served is what is gone back to.
    if complete(deployment) and deployment["spec"].get("replicas"):
        state = replace(state, served=running)
    if state.restarted != asked or workload.revision not in {running, state.broken[0]}:
        return replace(state, restarted=asked, restarts=forgiven(state.restarts), broken=("", ""))
    rolls_back = workload.manifest.spec.update.on_failure is OnFailure.ROLLBACK
    if rolls_back and running == workload.revision and state.served not in {"", running}:
        why = _given_up(deployment, pods)
        return replace(state, broken=(running, why)) if why else state
    return state


def _given_up(deployment: Object, pods: Sequence[Object]) -> str:
    """Tell why the newest template is not waited for any longer: its time is over, or an instance ended before it was ready."""
    newest = [pod for pod in pods if revision_of_pod(pod) == revision_of(deployment)]
    for _, ended in (end for pod in newest for end in ends(pod)):
        if not ended.served:
            return ended.message or f"{ended.reason} (exit code {ended.code})"
    return "it did not become ready in time" if late(deployment) else ""
