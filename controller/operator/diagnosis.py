"""What the doctor makes of a cluster. Pure: `examine` looks, this judges.

In the order in which one thing rests on another: the API server, definitions, rights, who leads, the controllers, images, network, names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from controller.finding import Finding, Level
from controller.operator.lease import LEASE_SECONDS
from xcore.errors import ImagePull
from xcore.runtimes.kubernetes.probe import Verdict

SHOWN = 5  # of things that are wrong in the same way
_KINDS = frozenset({"plugins", "pluginclasses"})
_INSTALL = "apply the chart, or manifests/install.yaml, again"


class Lead(NamedTuple):
    """Which replica leads, and how many seconds ago it said so."""

    holder: str
    age: float


class Replica(NamedTuple):
    """A pod of the controller."""

    name: str
    ready: bool


class Stuck(NamedTuple):
    """A pod that does not start."""

    plugin: str
    reason: str
    detail: str
    image: str


class Seen(NamedTuple):
    """Of plugins: the pods that do not start, the images of pods that are ready, what was found of networks."""

    stuck: Sequence[Stuck] = ()
    running: Sequence[str] = ()
    verdicts: Sequence[tuple[str, Verdict]] = ()


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What was seen; with an `error` nothing else was. `account`: who the controller is, `denied` the rights it lacks, in words.

    `image`: that of the sandboxes. `service`: the name of the controller's Service, `resolved` its address.
    """

    server: str
    error: str = ""
    version: str = ""
    definitions: frozenset[str] = frozenset()
    account: str = ""
    denied: Sequence[str] = ()
    lead: Lead | None = None
    replicas: Sequence[Replica] = ()
    image: str = ""
    seen: Seen = field(default_factory=Seen)
    service: str = ""
    resolved: str = ""


def diagnosis(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.error:
        advice = (
            "is it up, and does a NetworkPolicy let the controller reach it (networkPolicy.apiServerPorts)?"
        )
        yield Finding(
            "api-server", "fail", f"the API server at {facts.server} does not answer: {facts.error}", advice
        )
        return
    yield Finding("api-server", "ok", f"the API server at {facts.server} answers: {facts.version}")
    for check in _CHECKS:
        if (finding := check(facts)) is not None:
            yield finding


def _definitions(facts: ClusterFacts) -> Finding:
    if gone := sorted(_KINDS - facts.definitions):
        return Finding("definitions", "fail", f"the API server knows no {' and no '.join(gone)}", _INSTALL)
    return Finding("definitions", "ok", "the API server knows Plugin and PluginClass")


def _rights(facts: ClusterFacts) -> Finding:
    if facts.denied:
        message = f"{facts.account} may not {_some(facts.denied)}"
        return Finding("rights", "fail", message, f"a Role or RoleBinding is gone or changed: {_INSTALL}")
    return Finding("rights", "ok", f"{facts.account} has every right the controller uses")


def _leader(facts: ClusterFacts) -> Finding:
    if facts.lead is None:
        advice = "wait 17 s; where nobody takes it, the controllers' logs say why"
        return Finding("leader", "fail", "no controller leads: nothing is started or changed", advice)
    if facts.lead.age > LEASE_SECONDS:
        message = f"{facts.lead.holder} led, and was last heard {facts.lead.age:.0f} s ago"
        return Finding("leader", "fail", message, "another one takes over within 17 s, if there is one")
    return Finding("leader", "ok", f"{facts.lead.holder} leads")


def _replicas(facts: ClusterFacts) -> Finding | None:
    if not facts.replicas:
        return None
    unready = [replica.name for replica in facts.replicas if not replica.ready]
    if not unready:
        return Finding("controllers", "ok", f"controllers that are ready: {len(facts.replicas)}")
    message = f"controllers that are not ready: {_some(unready)}, of {len(facts.replicas)}"
    level: Level = "fail" if len(unready) == len(facts.replicas) else "warn"
    return Finding("controllers", level, message, "`kubectl describe pod` and their logs say why")


def _image(facts: ClusterFacts) -> Finding:
    pulls = [each for each in facts.seen.stuck if _is_pull(each) and each.image == facts.image]
    if pulls:
        message = f"no node has the sandbox image {facts.image}, or can pull it: {pulls[0].detail}"
        advice = "load it onto the nodes, or name one that they can pull (the chart's sandboxImage)"
        return Finding("sandbox-image", "fail", message, advice)
    if facts.image in facts.seen.running:
        return Finding("sandbox-image", "ok", f"pods run from {facts.image}")
    message = f"no pod runs from {facts.image} yet: whether the nodes have it is not known"
    return Finding("sandbox-image", "warn", message, "`helm test` starts one")


def _pods(facts: ClusterFacts) -> Finding | None:
    held = [each for each in facts.seen.stuck if not (_is_pull(each) and each.image == facts.image)]
    if not held:
        return None
    told = [f"{each.plugin} ({each.reason}: {each.detail})" for each in held]
    return Finding(
        "pods", "warn", f"pods that cannot start: {_some(told)}", "`xcore doctor NAME` says more of each"
    )


def _policy(facts: ClusterFacts) -> Finding:
    """The newest word counts: whoever runs the cluster may have changed it since."""
    told = [(verdict.at, plugin, verdict) for plugin, verdict in facts.seen.verdicts]
    if not told:
        message = "whether NetworkPolicies are enforced is not known: no plugin was tried yet"
        return Finding("network-policy", "warn", message, "`helm test` starts one")
    _, plugin, verdict = max(told, key=lambda each: each[0])
    if verdict.closed:
        return Finding(
            "network-policy", "ok", "NetworkPolicies are enforced: a pod tried, and reached nothing"
        )
    if verdict.closed is None:
        message = f"whether NetworkPolicies are enforced could not be told: {verdict.detail} (of {plugin})"
        return Finding("network-policy", "warn", message, "it is tried again every two minutes")
    message = f"NetworkPolicies are not enforced: {verdict.detail} (seen beside {plugin})"
    advice = "use a network plugin that enforces them, such as Calico or Cilium; it is tried again every two minutes"
    return Finding("network-policy", "fail", message, advice)


def _names(facts: ClusterFacts) -> Finding | None:
    if not facts.service:
        return None
    if facts.resolved:
        return Finding("dns", "ok", f"the controller's Service {facts.service} is {facts.resolved}")
    message = f"the name of the controller's Service does not resolve: {facts.service}"
    return Finding("dns", "fail", message, "is the Service there, and the cluster's DNS (CoreDNS) ready?")


def _is_pull(each: Stuck) -> bool:
    return each.reason == ImagePull.reason


def _some(told: Sequence[str]) -> str:
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return ", ".join(told[:SHOWN]) + more


_CHECKS: tuple[Callable[[ClusterFacts], Finding | None], ...] = (
    *(_definitions, _rights, _leader, _replicas, _image, _pods, _policy, _names),
)
