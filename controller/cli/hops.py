"""Judges the way of a request: controller, manifest, image, runtime, plugin. Pure; names the first hop that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from controller.cli.facts import ControllerFacts, Facts
from controller.finding import Finding, Level

# In the order things happen: what comes later cannot be well while something before it is not.
_HOPS = (
    ("Accepted", "manifest", "`xcore check DIR` names what to mend"),
    ("ResolvedRefs", "references", "make what it refers to"),
    ("ImageVerified", "image", "`docker pull` it on the engine's machine; the sandbox image: `make image`"),
    ("Programmed", "runtime", "the checks of the engine say more"),
    ("Ready", "plugin", "`xcore logs {name}` shows what it wrote"),
)
_ADVICE = {
    "Suspended": "`xcore resume {name}` starts it",
    "OutOfMemory": "raise spec.resources.memory, or let it use less",
    "RestartBudgetExhausted": "mend it (`xcore logs {name}`), then `xcore restart {name}`",
    "RuntimeUnavailable": "the checks of the engine say more",
    "Starting": "`xcore wait {name} --for=Ready` waits for it",
}
# The same of a plugin in a cluster.
_CLUSTER_ADVICE = {
    "ImagePull": "load it onto the nodes, or name one that they can pull",
    "NotProbed": "wait: it is tried as soon as it is ready",
    "NotEnforced": "use a network plugin that enforces NetworkPolicy",
    "RuntimeUnavailable": "the checks of the cluster say more",
    "Unschedulable": "add a node, or ask for less in spec.resources",
    "WorkloadRejected": "the cluster's quota or policy refuses it: ask whoever runs the cluster",
}


def hop_findings(facts: Facts) -> Iterator[Finding]:
    """Judge the controller and, where a plugin was named, each hop on the way to it."""
    controller = facts.controller
    if controller.unknown:
        message = f"nobody knows the name {controller.unknown}, which XCORE_URL holds"
        yield Finding("dns", "fail", message, "name the controller's Service, or what forwards to it")
    elif controller.error:
        level: Level = "fail" if facts.name else "warn"
        yield Finding("controller", level, controller.error, "`xcore serve` starts one; XCORE_URL names it")
    else:
        yield from _ready(controller)
        if facts.name:
            yield from _plugin(facts.name, controller)
        elif controller.problem:
            advice = "with the administrator's key in XCORE_KEY the controller tells more"
            yield Finding("api", "warn", controller.problem, advice)


def _ready(controller: ControllerFacts) -> Iterator[Finding]:
    if controller.ready is None:
        return
    status, body = controller.ready
    told = _object(body)
    state, degraded = str(told.get("status", f"status {status}")), told.get("degraded") or ()
    if status == 200 and not degraded:
        yield Finding("controller", "ok", f"the controller at {controller.url} is ready")
    elif status == 200:
        message = f"the controller at {controller.url} serves, degraded: {', '.join(map(str, degraded))}"
        yield Finding("controller", "warn", message, "the checks of the engine say more")
    else:
        message = f"the controller at {controller.url} is not ready: {state}"
        yield Finding("controller", "fail", message, "wait a moment; its log says what it waits for")


def _plugin(name: str, controller: ControllerFacts) -> Iterator[Finding]:
    if controller.plugin is None:
        advice = "`xcore get` lists what there is; XCORE_KEY holds the key"
        yield Finding("api", "fail", controller.problem, advice)
        return
    status = controller.plugin.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    told = _ADVICE | (_CLUSTER_ADVICE if status.get("runtime") == "kubernetes" else {})
    failing = next((hop for hop in _HOPS if _status(conditions, hop[0]) != "True"), None)
    if failing is None:
        yield Finding("plugin", "ok", f"{name} is Ready")
        yield from _request(name, controller)
    else:
        condition, hop, advice = failing
        found = conditions.get(condition, {})
        reason, message = found.get("reason", "Unknown"), found.get("message", "")
        level: Level = "warn" if reason in {"Suspended", "Starting"} else "fail"
        sentence = f"{name} is held up at the {hop}: {reason}" + (f": {message}" if message else "")
        yield Finding(hop, level, sentence, told.get(reason, advice).format(name=name))
    yield from _beside(name, conditions, told)


def _status(conditions: Mapping[str, Mapping[str, Any]], kind: str) -> str:
    """The condition's status; one that nobody set holds nothing up, but for Ready."""
    if kind == "Ready" and kind not in conditions:
        return "Unknown"
    return str(conditions.get(kind, {"status": "True"})["status"])


def _request(name: str, controller: ControllerFacts) -> Iterator[Finding]:
    """A request through the data plane, as a client makes it."""
    if controller.request is None:
        return
    status, body = controller.request
    if status < 500 and status != 401:
        yield Finding("request", "ok", f"GET /app/{name} answers {status}")
        return
    told = _object(body)
    reason, component = told.get("reason", f"status {status}"), told.get("component", "plugin")
    message = f"GET /app/{name} fails at the {component}: {reason}: {told.get('detail', '')}"
    yield Finding("request", "fail", message, f"`xcore logs {name}` and the controller's log say more")


def _beside(
    name: str, conditions: Mapping[str, Mapping[str, Any]], advice: Mapping[str, str]
) -> Iterator[Finding]:
    """What does not hold requests up, and should be known."""
    if _status(conditions, "NetworkIsolated") != "True":
        found = conditions["NetworkIsolated"]
        message = f"{name} is not known to be cut off from the network: {found.get('message', '')}"
        ways = advice.get(found["reason"], "use Docker where its code is not trusted")
        yield Finding("network", "warn", message, ways)
    if _status(conditions, "Progressing") == "False":  # Unknown: it is still rolling out, or suspended
        found = conditions["Progressing"]
        message = f"{name} runs an older revision: {found['reason']}: {found.get('message', '')}"
        yield Finding("revision", "warn", message, f"mend it (`xcore logs {name}`) and save")


def _object(body: str) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
