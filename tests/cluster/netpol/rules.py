"""From NetworkPolicies to an nftables table: a pure function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.cluster.places import PODS

TABLE = "xcore_netpol"
Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """What matters of a pod that has an address."""

    namespace: str
    labels: dict[str, str]
    address: str
    ports: dict[str, int]


@dataclass(frozen=True)
class Known:
    """The pods, and the labels of their namespaces."""

    pods: list[Pod]
    namespaces: dict[str, dict[str, str]]

    def selected(self, namespaces: Object | None, pods: Object | None, own: str) -> list[Pod]:
        """Those that a peer means: without a namespaceSelector, of the policy's own namespace."""
        return [
            pod
            for pod in self.pods
            if _matches(pods or {}, pod.labels)
            and (
                pod.namespace == own
                if namespaces is None
                else _matches(namespaces, self.namespaces.get(pod.namespace, {}))
            )
        ]


def table(namespaces: list[Object], pods: list[Object], policies: list[Object]) -> str:
    """The whole table, to replace the one that was, in one piece."""
    known = Known(
        sorted(map(_pod, filter(_has_address, pods)), key=lambda pod: pod.address),
        {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in namespaces},
    )
    isolated: dict[str, set[str]] = {"Ingress": set(), "Egress": set()}
    allowed: dict[str, list[str]] = {"Ingress": [], "Egress": []}
    for policy in sorted(policies, key=lambda item: item["metadata"]["uid"]):
        spec, own = policy["spec"], policy["metadata"]["namespace"]
        subjects = known.selected(None, spec.get("podSelector"), own)
        for direction in spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]:
            isolated[direction] |= {pod.address for pod in subjects}
            for rule in spec.get(direction.lower()) or []:
                allowed[direction] += _allowed(direction, rule, subjects, known, own)
    return _rendered(known.pods, isolated, allowed)


def _rendered(pods: list[Pod], isolated: dict[str, set[str]], allowed: dict[str, list[str]]) -> str:
    stranger = f"ip saddr {PODS} ip saddr != @pods drop"
    outward = ("ct state established,related accept", stranger, "ip saddr @isolated_egress jump egress")
    inward = (f"ip daddr {PODS} ip daddr != @pods drop", "ip daddr @isolated_ingress jump ingress")
    filters = "type filter hook {} priority -10; policy accept;"
    chains = {
        "egress": (*allowed["Egress"], "drop"),
        "ingress": (*allowed["Ingress"], "drop"),
        # From pod to pod and to elsewhere; from pod to the node. What the node sends itself passes neither.
        "forward": (filters.format("forward"), *outward, *inward),
        "input": (filters.format("input"), *outward),
    }
    lines = [f"table ip {TABLE} {{}}", f"delete table ip {TABLE}", f"table ip {TABLE} {{"]
    lines += _set("pods", {pod.address for pod in pods})
    lines += _set("isolated_egress", isolated["Egress"])
    lines += _set("isolated_ingress", isolated["Ingress"])
    for name, rules in chains.items():
        lines += [f"  chain {name} {{", *(f"    {rule}" for rule in rules), "  }"]
    return "\n".join([*lines, "}", ""])


def _set(name: str, addresses: set[str]) -> list[str]:
    content = f" elements = {_braced(addresses)};" if addresses else ""
    return [f"  set {name} {{ type ipv4_addr;{content} }}"]


def _allowed(direction: str, rule: Object, subjects: list[Pod], known: Known, own: str) -> Iterator[str]:
    """The rules that let something through: each returns to whoever asked."""
    peers = rule.get("from" if direction == "Ingress" else "to")
    here, there = ("daddr", "saddr") if direction == "Ingress" else ("saddr", "daddr")
    if not subjects:
        return
    for peer in peers or [None]:
        block = (peer or {}).get("ipBlock")
        others = None
        if peer and not block:
            others = known.selected(peer.get("namespaceSelector"), peer.get("podSelector"), own)
        # A named port is a name on the pod that is called.
        called = subjects if direction == "Ingress" else (known.pods if others is None else others)
        for ports, callable_ in _ports(rule.get("ports"), called):
            ours, theirs = subjects, others
            if callable_ is not None and direction == "Ingress":
                ours = callable_
            elif callable_ is not None:
                theirs = callable_
            if ours and theirs != []:
                yield " ".join(
                    filter(None, (_among(here, ours), _peer(there, theirs, block), ports, "return"))
                )


def _ports(ports: list[Object] | None, called: list[Pod]) -> Iterator[tuple[str, list[Pod] | None]]:
    """Each match on ports, and the pods it is about (None: whichever are called)."""
    if not ports:
        yield "", None
    for entry in ports or []:
        protocol = entry.get("protocol", "TCP").lower()
        port = entry.get("port")
        if port is None:
            yield f"meta l4proto {protocol}", None
        elif isinstance(port, int):
            last = f"-{entry['endPort']}" if "endPort" in entry else ""
            yield f"{protocol} dport {port}{last}", None
        else:
            for number in sorted({pod.ports[port] for pod in called if port in pod.ports}):
                yield f"{protocol} dport {number}", [pod for pod in called if pod.ports.get(port) == number]


def _peer(side: str, pods: list[Pod] | None, block: Object | None) -> str:
    if block:
        exceptions = block.get("except")
        return f"ip {side} {block['cidr']}" + (f" ip {side} != {_braced(exceptions)}" if exceptions else "")
    return "" if pods is None else _among(side, pods)


def _among(side: str, pods: list[Pod]) -> str:
    return f"ip {side} {_braced(pod.address for pod in pods)}"


def _braced(words: Iterable[str]) -> str:
    return f"{{ {', '.join(sorted(words))} }}"


def _matches(selector: Object, labels: dict[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(entry, labels) for entry in selector.get("matchExpressions") or [])


def _expression(entry: Object, labels: dict[str, str]) -> bool:
    key, values = entry["key"], entry.get("values") or []
    match entry["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _has_address(pod: Object) -> bool:
    ended = pod["status"].get("phase") in {"Succeeded", "Failed"}
    return bool(pod["status"].get("podIP")) and not ended and not pod["spec"].get("hostNetwork")


def _pod(item: Object) -> Pod:
    containers = item["spec"]["containers"]
    ports = [port for container in containers for port in container.get("ports") or []]
    return Pod(
        item["metadata"]["namespace"],
        item["metadata"].get("labels") or {},
        item["status"]["podIP"],
        {port["name"]: port["containerPort"] for port in ports if "name" in port},
    )
