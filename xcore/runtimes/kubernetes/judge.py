"""What to make of what is found: ready, given up, or asked for anew; and which template goes on. Pure."""

from __future__ import annotations

from dataclasses import replace

from xcore.restart import forgiven
from xcore.runtimes.kubernetes.client import Object
from xcore.runtimes.kubernetes.found import complete, late, restarted_of, revision_of
from xcore.runtimes.kubernetes.objects import RESTARTED
from xcore.runtimes.kubernetes.state import State
from xcore.spec import OnFailure
from xcore.workload import Workload


def same(found: Object, made: Object) -> bool:
    """Tell whether two Deployments want the same revision, restarted at the same time."""
    return (revision_of(found), restarted_of(found)) == (revision_of(made), restarted_of(made))


def judged(workload: Workload, deployment: Object | None, state: State) -> State:
    """Take note of what became ready, what did not in time, and what is asked for anew."""
    if deployment is None:
        return state
    asked = workload.manifest.metadata.annotations.get(RESTARTED, "")
    running = revision_of(deployment)
    if restarted_of(deployment) != asked or workload.revision not in {running, state.broken[0]}:
        return replace(state, restarts=forgiven(state.restarts), broken=("", ""))
    if running != workload.revision:
        return state
    if complete(deployment) and deployment["spec"].get("replicas"):
        return replace(state, served=workload.revision)
    rolls_back = workload.manifest.spec.update.on_failure is OnFailure.ROLLBACK
    if late(deployment) and state.served not in {"", workload.revision} and rolls_back:
        why = state.restarts.last.message if state.restarts.last else ""
        return replace(state, broken=(workload.revision, why or "it did not become ready in time"))
    return state
