"""Interfaces and packet filter rules of the cluster, and their removal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.commands import ClusterError, run, succeeds
from tests.cluster.places import BRIDGE, PODS

COMMENT = "xcore-cluster"
# kube-proxy, kubelet and the CNI plugins make chains of these names.
FOREIGN = re.compile(r":((?:KUBE|CNI)-\S+)")


def open_up() -> None:
    """The interface that nodes have their addresses on; pods may be forwarded although Docker forbids it to others."""
    if "KUBE-SERVICES" in run("iptables-save", "-t", "nat"):
        raise ClusterError(
            "another Kubernetes works on this machine: name its kubeconfig in KUBECONFIG, or stop it"
        )
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "link", "set", BRIDGE, "up")
    for direction in ("--source", "--destination"):
        rule = ("FORWARD", direction, PODS, "-m", "comment", "--comment", COMMENT, "-j", "ACCEPT")
        run("iptables", "--wait", "-I", *rule)


def add_address(address: str) -> None:
    run("ip", "address", "replace", f"{address}/32", "dev", BRIDGE)


def remove_address(address: str) -> None:
    succeeds("ip", "address", "delete", f"{address}/32", "dev", BRIDGE)


def close_down() -> None:
    """Nothing of the cluster's is left in the packet filter, nor its interface."""
    succeeds("ip", "link", "delete", BRIDGE)
    for family in ("iptables", "ip6tables"):
        # In one piece: Docker's own rules are never out of force.
        run(
            f"{family}-restore", "--noflush", "--wait", stdin="\n".join(removal(run(f"{family}-save"))) + "\n"
        )


def removal(saved: str) -> Iterator[str]:
    """What to feed iptables-restore with, so that nothing of the cluster is left of what iptables-save printed."""
    for table in re.findall(r"^\*(?:.*\n)+?COMMIT$", saved, re.MULTILINE):
        lines = table.splitlines()
        chains = [match[1] for line in lines if (match := FOREIGN.match(line))]
        rules = [line for line in lines if line.startswith("-A ") and line.split()[1] not in chains]
        yield lines[0]
        yield from (f"-D {rule[3:]}" for rule in rules if _ours(rule, chains))
        yield from (f"-F {chain}" for chain in chains)
        yield from (f"-X {chain}" for chain in chains)
        yield "COMMIT"


def _ours(rule: str, chains: list[str]) -> bool:
    words = rule.split()
    return COMMENT in words or words[words.index("-j") + 1] in chains if "-j" in words else False
