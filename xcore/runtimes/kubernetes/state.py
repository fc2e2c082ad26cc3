"""What the runtime itself must remember of a plugin, kept on its Deployment: whoever leads next goes on from it.

One annotation, JSON: the revision that was last wholly ready, the one that was given up and why, the restarts, and which
ends of which pods are already counted.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace

from xcore.records import history_document, restarts_of
from xcore.restart import Restarts, record
from xcore.runtimes.kubernetes.client import Object
from xcore.runtimes.kubernetes.found import ends, revision_of_pod
from xcore.runtimes.kubernetes.probe import Verdict
from xcore.spec import RestartSpec
from xcore.workload import ExitReason

STATE = "xcore.dev/state"
# As the kubelet has it: 10 s, doubled up to 5 min.
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0


@dataclass(frozen=True, slots=True)
class State:
    """`broken`: the revision that is not tried again, with the reason. `seen`: ends counted, by the pod's uid.

    `restarted`: the last restart by command that was taken note of.
    """

    served: str = ""
    restarted: str = ""
    broken: tuple[str, str] = ("", "")
    verdict: Verdict = field(default_factory=Verdict)
    restarts: Restarts = field(default_factory=Restarts)
    seen: Mapping[str, int] = field(default_factory=dict)


def read(deployment: Object | None) -> State:
    """Read it back; what cannot be read is as good as new."""
    text = (deployment or {}).get("metadata", {}).get("annotations", {}).get(STATE, "")
    try:
        told = json.loads(text) if text else {}
        return State(
            served=told.get("served", ""),
            restarted=told.get("restarted", ""),
            broken=tuple(told.get("broken", ("", ""))),
            verdict=Verdict(*told.get("verdict", ())),
            restarts=restarts_of(told.get("restarts", {})),
            seen=told.get("seen", {}),
        )
    except (ValueError, AttributeError, TypeError):
        return State()


def write(state: State) -> str:
    """Give the annotation's value: equal states have equal texts."""
    told = {
        "served": state.served,
        "restarted": state.restarted,
        "broken": list(state.broken),
        "verdict": list(astuple(state.verdict)),
        "restarts": history_document(state.restarts),
        "seen": dict(sorted(state.seen.items())),
    }
    return json.dumps(told, separators=(",", ":"))


def uncounted(state: State, pod: Object) -> bool:
    """Tell whether it ended since ends were counted last."""
    return any(number > state.seen.get(pod["metadata"]["uid"], 0) for number, _ in ends(pod))


def counted(
    state: State, pods: Sequence[Object], policy: RestartSpec, *, probed: Collection[str] = ()
) -> State:
    """Count the ends that were not counted yet, and forget pods that are gone.

    `probed`: uids of pods that the kubelet ended since. A revision that does not come up while an older one serves spends nothing: it is given up.
    """
    history, seen = state.restarts, {}
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"])):
        if state.served not in {"", revision_of_pod(pod)}:
            continue
        uid = pod["metadata"]["uid"]
        before = state.seen.get(uid, 0)
        for number, told in ends(pod):
            ended = replace(told, reason=ExitReason.ProbeFailed) if uid in probed else told
            for _ in range(min(number - before, policy.max_restarts + 1)):
                history = record(history, ended, policy, healthy=0.0, dice=0.5)
            history = _paused(history)
            before = max(before, number)
        if before:
            seen[uid] = before
    return replace(state, restarts=history, seen=seen)


def _paused(history: Restarts) -> Restarts:
    """Say when the kubelet tries again: it is the one that restarts."""
    if history.held or history.last is None:
        return history
    pause = 0.0
    if history.consecutive > 1:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(history.consecutive - 2, 10))
    return replace(history, next_time=history.last.at + pause)
