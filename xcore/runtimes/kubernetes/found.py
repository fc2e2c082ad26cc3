"""What a cluster tells of one plugin: its Deployment and its pods, read as instances, ends and failures. Pure.

Field names are those of core/v1 and apps/v1. A pod is an instance; each end of its container is an `Exit`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from xcore.endpoint import AddressEndpoint
from xcore.errors import ImagePull, SecretNotFound, Unschedulable, WorkloadRejected
from xcore.runtimes.kubernetes.client import Object
from xcore.runtimes.kubernetes.objects import PLUGIN, RESTARTED, REVISION
from xcore.runtimes.kubernetes.pod import CALLS_ADDRESS, CONTAINER
from xcore.runtimes.text import printable
from xcore.workload import Exit, ExitReason, Instance, Phase

_PULLS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
# "references non-existent secret key: a" and "secret \"a\" not found", as the kubelet words it.
_MISSING = re.compile(r"secret key: [^ ]+|secret \"[^\"]+\"")
# "Container plugin failed liveness probe, will be restarted", as the kubelet words it.
_BY_PROBE = re.compile(r"failed (liveness|startup) probe")
_LAST_SIGNAL = 64
_SIGNALLED = 128


def instance_of(pod: Object, *, by: str = "Ready") -> Instance:
    """Read a pod that lives or ends; `by`: the condition that tells whether it is ready."""
    meta, status = pod["metadata"], pod.get("status", {})
    again = _container(pod).get("restartCount", 0)  # another process, with nothing left of the one before
    return Instance(
        id=f"{meta['name']}-{again}" if again else meta["name"],
        plugin=meta["labels"][PLUGIN],
        revision=revision_of_pod(pod),
        generation=0,
        started_at=_seconds(status.get("startTime") or meta["creationTimestamp"]),
        endpoint=_endpoint(pod),
        phase=_phase(pod, by),
        message=_said(status),
    )


def living(pods: Sequence[Object]) -> tuple[Instance, ...]:
    """Give the instances that were not told to end.

    When the control plane misses a node, it calls all pods there not ready, though they are as they were (their
    containers' condition stays). Where none but such are left, the kubelet's last word holds.
    """
    found = [pod for pod in pods if not leaves(pod)]
    instances = tuple(map(instance_of, found))
    if any(instance.phase is Phase.Ready for instance in instances):
        return instances
    return tuple(instance_of(pod, by="ContainersReady") for pod in found)


def leaves(pod: Object) -> bool:
    """Tell whether it was told to end, or has ended for good."""
    return "deletionTimestamp" in pod["metadata"] or pod.get("status", {}).get("phase") in {
        "Failed",
        "Succeeded",
    }


def ends(pod: Object) -> Iterator[tuple[int, Exit]]:
    """Give the last end of its container that the cluster still tells, with its number; evictions count as ends."""
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        at = _seconds(pod["metadata"]["creationTimestamp"])
        yield 1, Exit(ExitReason.Evicted, None, at, status.get("message", ""), served=True)
        return
    container = _container(pod)
    state, restarts = container.get("state", {}), container.get("restartCount", 0)
    if leaves(pod):
        yield from ((restarts + 1, end) for end in _disrupted(pod))  # else it was told to by us
        return
    ended = _ended(pod)
    if ended is not None:
        # While it waits for its next start, the newest end was not followed by a restart yet.
        yield restarts + ("running" not in state), _exit(ended, served=_was_ready(pod, ended))


def ended_by_probe(pod: Object, events: Sequence[Object]) -> bool:
    """Tell from a pod's events whether the kubelet ended its container: status only tells by which signal."""
    began = (_ended(pod) or {}).get("startedAt", "")
    return any(
        event.get("reason") == "Killing"
        and _BY_PROBE.search(event.get("message", ""))
        and (event.get("lastTimestamp") or "") >= began
        for event in events
    )


def waits_for_volumes(pod: Object) -> bool:
    """Tell whether a pod that has its node has no container yet: perhaps a secret is missing, which only events tell."""
    waiting = _container(pod).get("state", {}).get("waiting", {})
    return not leaves(pod) and waiting.get("reason") == "ContainerCreating"


def missing_of(events: Sequence[Object]) -> SecretNotFound | None:
    """Read from the events of a pod which secret it waits for."""
    for event in events:
        if event.get("reason") == "FailedMount" and (found := _MISSING.search(event.get("message", ""))):
            return SecretNotFound(f"there is no {found[0]}")
    return None


def failure_of(deployment: Object | None, pods: Sequence[Object]) -> WorkloadRejected | None:
    """Tell why the cluster cannot run it: what the API server refused, no room, no image, no secret."""
    for condition in _conditions(deployment or {}):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return WorkloadRejected(condition.get("message", "the cluster refused a pod"))
    for pod in pods:
        if leaves(pod):
            continue
        if (error := stuck(pod)) is not None:
            return error
    return None


def complete(deployment: Object | None) -> bool:
    """Tell whether the Deployment's newest template runs in all its replicas, and nothing else does."""
    if deployment is None:
        return False
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    told = [status.get(name, 0) for name in ("updatedReplicas", "readyReplicas", "replicas")]
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"] and told == [wanted] * 3
    )


def late(deployment: Object | None) -> bool:
    """Tell whether the newest template did not become ready in time."""
    return any(
        condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in _conditions(deployment or {})
    )


def revision_of(deployment: Object) -> str:
    """Give the revision its newest template is of."""
    return str(_marks(deployment).get(REVISION, ""))


def as_it_is(deployment: Object) -> Object:
    """Give its template, without the mark of a restart: that is nobody's wish for good."""
    template: Object = deployment["spec"]["template"]
    meta = template["metadata"]
    marks = {name: mark for name, mark in meta.get("annotations", {}).items() if name != RESTARTED}
    return {**template, "metadata": {**meta, "annotations": marks}}


def calls_of(deployment: Object) -> str:
    """Give where its pods call other plugins; empty where they do not."""
    told = [
        item.get("value", "")
        for container in deployment["spec"]["template"]["spec"]["containers"]
        for item in container.get("env", ())
        if container["name"] == CONTAINER and item["name"] == CALLS_ADDRESS
    ]
    return str(told[-1]) if told else ""


def restarted_of(deployment: Object) -> str:
    """Give when a restart was last asked for, as far as it was carried out."""
    return str(_marks(deployment).get(RESTARTED, ""))


def revision_of_pod(pod: Object) -> str:
    return str(pod["metadata"].get("annotations", {}).get(REVISION, ""))


def _marks(deployment: Object) -> dict[str, Any]:
    return dict(deployment["spec"]["template"]["metadata"].get("annotations", {}))


def addresses_of(pod: Object) -> frozenset[str]:
    """Give every address it has."""
    return frozenset(item["ip"] for item in pod.get("status", {}).get("podIPs", ()))


def _endpoint(pod: Object) -> AddressEndpoint | None:
    address = pod.get("status", {}).get("podIP")
    if not address:
        return None
    container = next(c for c in pod["spec"]["containers"] if c["name"] == CONTAINER)
    return AddressEndpoint(address, container["ports"][0]["containerPort"])


def _phase(pod: Object, by: str) -> Phase:
    if leaves(pod):
        return Phase.Ending
    if any(c["type"] == by and c["status"] == "True" for c in _conditions(pod)):
        return Phase.Ready
    container = _container(pod)
    return (
        Phase.Unready
        if container.get("started") and "running" in container.get("state", {})
        else Phase.Starting
    )


def _was_ready(pod: Object, ended: dict[str, Any]) -> bool:
    """Kubernetes keeps no note of it, but of when it called the pod not ready: that is before a container starts, or later."""
    began = ended.get("startedAt")
    if not _seconds(began):  # it could not even be started
        return False
    return bool(_container(pod).get("started")) or any(
        c["type"] == "Ready" and c.get("lastTransitionTime", "") > began for c in _conditions(pod)
    )


def stuck(pod: Object) -> WorkloadRejected | None:
    """Tell why a pod does not start: no room for it, no image, no secret."""
    for condition in _conditions(pod):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Unschedulable(condition.get("message", "no node has room for it"))
    waiting = _container(pod).get("state", {}).get("waiting", {})
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULLS:
        return ImagePull(said or reason)
    if reason == "CreateContainerConfigError":
        return SecretNotFound(said or reason)
    return None


def _ended(pod: Object) -> dict[str, Any] | None:
    """Give the newest end of its container."""
    container = _container(pod)
    found = (container.get(name, {}).get("terminated") for name in ("state", "lastState"))
    return next((dict(ended) for ended in found if ended), None)


def _disrupted(pod: Object) -> Iterator[Exit]:
    """Give the end of a pod that a drain, a lost node or a more important pod took away."""
    for condition in _conditions(pod):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            at, said = _seconds(condition.get("lastTransitionTime")), condition.get("message", "")
            yield Exit(ExitReason.Evicted, None, at, said, served=True)


def _exit(ended: dict[str, Any], *, served: bool) -> Exit:
    code, at = ended.get("exitCode"), _seconds(ended.get("finishedAt"))
    lines = (ended.get("message") or "").strip().splitlines()
    said = printable(lines[-1].encode()) if lines else ""
    return Exit(_reason(ended, code), code, at, said, served)


def _reason(ended: dict[str, Any], code: int | None) -> ExitReason:
    if ended.get("reason") == "OOMKilled":
        return ExitReason.OutOfMemory
    if code == 0:
        return ExitReason.Completed
    signalled = code is not None and _SIGNALLED < code <= _SIGNALLED + _LAST_SIGNAL
    return ExitReason.Signal if signalled or ended.get("signal") else ExitReason.Error


def _said(status: dict[str, Any]) -> str:
    return str(status.get("message", ""))


def _container(pod: Object) -> dict[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return next((dict(status) for status in statuses if status["name"] == CONTAINER), {})


def _conditions(item: Object) -> list[dict[str, Any]]:
    return list(item.get("status", {}).get("conditions", ()))


def _seconds(told: str | None) -> float:
    return datetime.fromisoformat(told).timestamp() if told else 0.0
