"""The status of a plugin, as the API, the command line and (later) the custom resource show it. Pure.

Conditions follow the Kubernetes API conventions: type, status True | False | Unknown, reason, message,
lastTransitionTime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xcore.clock import rfc3339
from xcore.errors import (
    ImagePull,
    Invalid,
    NetworkPolicyFailed,
    RuntimeUnavailable,
    Unschedulable,
    XcoreError,
)
from xcore.rating import rating, walls
from xcore.restart import FREE, Restarts
from xcore.runtimes.seams import Observed
from xcore.workload import Exit, ExitReason, Phase

IN_A_ROW_FOR_LOOP = 2
TERMINATING = "Terminating"  # what Ready says of a resource that something else holds


@dataclass(frozen=True, slots=True)
class Facts:
    """What the manager knows of a plugin: what was declared, what was refused, what is observed."""

    name: str
    generation: int
    refused: XcoreError | None
    observed: Observed | None
    suspended: bool
    isolated: tuple[str, str, str]  # the NetworkIsolated condition: status, reason, message
    image: str = ""
    pending: str = ""  # what is being prepared before the newest revision can run
    actions: Sequence[str] = field(default_factory=tuple)
    rivals: Sequence[str] = ()  # who else wants the name, in words


Condition = tuple[str, str, str]  # status, reason, message


def build(facts: Facts, now: float, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give the status object; `before` is the previous one, for the times of transition."""
    observed = facts.observed
    serving = observed.serving if observed else None
    wanted = observed.wanted if observed else None
    status: dict[str, Any] = {
        "observedGeneration": facts.generation,
        "replicas": len(observed.instances) if observed else 0,
        "readyReplicas": len(observed.receiving) if observed else 0,
        "endpoint": f"/app/{facts.name}",
        "runtime": observed.runtime if observed else "",
        "image": facts.image,
        "currentRevision": serving.revision[:12] if serving else "",
        "updateRevision": wanted.revision[:12] if wanted else "",
        "securityRating": rating(walls(observed.runtime, wanted.manifest, facts.isolated[0]))
        if observed and wanted
        else None,
        "actions": list(facts.actions),
        "restarts": _restarts(observed.restarts if observed else Restarts(), observed, now),
    }
    if observed and observed.selector:
        status["selector"] = observed.selector
    status["conditions"] = _with_times(_conditions(facts, now), status["observedGeneration"], now, before)
    return status


def is_true(status: Mapping[str, Any], condition: str) -> bool:
    return any(c["type"] == condition and c["status"] == "True" for c in status["conditions"])


def _conditions(facts: Facts, now: float) -> dict[str, Condition]:
    conditions = {
        "Accepted": _judged("Accepted", facts),
        "ResolvedRefs": _judged("ResolvedRefs", facts),
        "ImageVerified": _image(facts),
    }
    if facts.observed is not None:
        conditions["Programmed"] = _programmed(facts.observed)
        conditions["NetworkIsolated"] = facts.isolated
        conditions["Active"] = _active(facts, facts.observed)
    if facts.pending:
        conditions["Progressing"] = "Unknown", "Preparing", facts.pending
    elif facts.observed is not None:
        conditions["Progressing"] = _progressing(facts, facts.observed, now)
    conditions["Ready"] = _ready(facts)
    return conditions


def _active(facts: Facts, observed: Observed) -> Condition:
    if facts.suspended:
        return "False", "Suspended", ""
    return ("True", "Serving", "") if observed.serving else ("False", "Idle", "nothing serves now")


def _judged(condition: str, facts: Facts) -> Condition:
    """A condition whose good reason is called like itself."""
    # What an engine or cluster says no to was accepted all the same.
    later = facts.observed.failure if facts.observed and condition != "Accepted" else None
    for error in (facts.refused, later):
        if error is not None and error.condition == condition:
            return "False", error.reason, told(error)
    also = f"{' and '.join(facts.rivals)} would have the name {facts.name} as well, and is not run"
    return "True", condition, also if facts.rivals and condition == "Accepted" else ""


def told(error: XcoreError) -> str:
    """Say an error in one line, with the first few fields that are wrong."""
    if isinstance(error, Invalid):
        more = (str(problem) for problem in error.problems[:5] if problem.message not in error.detail)
        return "; ".join([error.detail, *more])
    return error.detail


def _programmed(observed: Observed) -> Condition:
    failure = observed.failure
    if failure is None or isinstance(failure, Unschedulable):
        return "True", "Programmed", ""
    unknown = isinstance(failure, RuntimeUnavailable)
    named = failure.reason if unknown or isinstance(failure, NetworkPolicyFailed) else "WorkloadRejected"
    return ("Unknown" if unknown else "False"), named, failure.detail


def _image(facts: Facts) -> Condition:
    observed = facts.observed
    for error in (facts.refused, observed.failure if observed else None):
        if isinstance(error, ImagePull):
            return "False", "ImagePull", error.detail
    return "True", "NotRequired", ""


def _progressing(facts: Facts, observed: Observed, now: float) -> Condition:
    if facts.suspended:
        return "Unknown", "Suspended", ""
    if observed.broken:
        return "False", "RolledBack", f"StartupFailed: {observed.broken}"
    if observed.settled:
        return "True", "NewRevisionAvailable", ""
    wanted, served = observed.wanted, observed.fallback
    if wanted and served and wanted.revision == served.revision:
        return (
            "True",
            "NewRevisionAvailable",
            "",
        )  # rolled out long ago; that it crashed since is Ready's to tell
    if wanted and now - observed.wanted_at > wanted.manifest.spec.update.progress_deadline_seconds:
        return "False", "ProgressDeadlineExceeded", ""
    return "Unknown", "RollingOut", ""


def _ready(facts: Facts) -> Condition:
    observed = facts.observed
    if observed is None:
        return "False", facts.refused.reason if facts.refused else "Starting", facts.pending
    if facts.suspended:
        return "False", "Suspended", ""
    if observed.serving is not None:
        withheld = "its class demands proof that its network is closed"
        return ("False", observed.withheld, withheld) if observed.withheld else ("True", "Ready", "")
    if observed.failure is not None:
        unknown = isinstance(observed.failure, RuntimeUnavailable)
        return ("Unknown" if unknown else "False"), observed.failure.reason, observed.failure.detail
    return _not_ready(observed)


def _not_ready(observed: Observed) -> Condition:
    history = observed.restarts
    if history.held:
        return "False", history.held, _why(history.last)
    unready = next((i for i in observed.instances if i.phase is Phase.Unready), None)
    if unready is not None:
        return "False", "ProbeFailing", unready.message
    return _starting(history)


def _starting(history: Restarts) -> Condition:
    """It is on its way up: say what is known of the way."""
    last = history.last
    if last is None:
        return "False", "Starting", ""
    if history.consecutive == 0 or last.reason in FREE:
        reason = "Starting"
    elif not last.served:
        reason = "StartupFailed"
    elif last.reason is ExitReason.OutOfMemory:
        reason = "OutOfMemory"
    else:
        reason = "CrashLooping" if history.consecutive >= IN_A_ROW_FOR_LOOP else "Starting"
    return "False", reason, _why(last)


def _why(last: Exit | None) -> str:
    if last is None:
        return ""
    code = "" if last.code is None else f" (exit code {last.code})"
    said = f": {last.message}" if last.message else ""
    return f"the last instance ended: {last.reason}{code}{said}"


def _restarts(history: Restarts, observed: Observed | None, now: float) -> dict[str, Any]:
    wanted = observed.wanted if observed else None
    window = wanted.manifest.spec.restart.window_seconds if wanted else 0
    last = history.last
    return {
        "count": history.count,
        "inWindow": history.in_window(now, window),
        "lastReason": last.reason.value if last else None,
        "lastExitCode": last.code if last else None,
        "lastTime": rfc3339(last.at) if last else None,
        "nextTime": rfc3339(history.next_time) if history.next_time and history.next_time > now else None,
    }


def _with_times(
    conditions: Mapping[str, Condition], generation: int, now: float, before: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    known = {c["type"]: c for c in before["conditions"]} if before else {}
    listed = []
    for kind, (status, reason, message) in conditions.items():
        old = known.get(kind)
        since = old["lastTransitionTime"] if old and old["status"] == status else rfc3339(now)
        listed.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastTransitionTime": since,
                "observedGeneration": generation,
            }
        )
    return listed
