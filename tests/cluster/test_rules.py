"""What a NetworkPolicy says is what the rules of the enforcer let through."""

import re

import pytest

from tests.cluster.netpol.rules import table

NAMESPACES = [
    {"metadata": {"name": "here", "labels": {"team": "a"}}},
    {"metadata": {"name": "there", "labels": {"team": "b"}}},
]


def pod(address, namespace="here", app="web", phase="Running", **ports):
    listed = [{"name": name, "containerPort": number} for name, number in ports.items()]
    return {
        "metadata": {"namespace": namespace, "labels": {"app": app}},
        "spec": {"containers": [{"ports": listed}]},
        "status": {"podIP": address, "phase": phase},
    }


PODS = [
    pod("10.244.1.1", http=8080),
    pod("10.244.1.2", app="db"),
    pod("10.244.1.3", namespace="there", app="db"),
    pod("10.244.1.4", phase="Succeeded"),
]
WEB = {"matchLabels": {"app": "web"}}


def made(**spec):
    policy = {"metadata": {"namespace": "here", "uid": "1"}, "spec": {"podSelector": WEB, **spec}}
    return table(NAMESPACES, PODS, [policy])


def chain(text, name):
    found = re.search(rf"chain {name} {{\n(.*?)\n  }}", text, re.DOTALL)
    return [line.strip() for line in found[1].splitlines()]


def elements(text, name):
    return re.findall(r"[\d.]+", re.search(rf"set {name} {{ type ipv4_addr;(.*)}}", text)[1])


def test_pods_that_no_policy_names_are_not_isolated():
    """Without a policy nobody is isolated, and every pod that lives is known."""
    text = table(NAMESPACES, PODS, [])
    assert elements(text, "pods") == ["10.244.1.1", "10.244.1.2", "10.244.1.3"]
    assert elements(text, "isolated_ingress") == elements(text, "isolated_egress") == []


def test_a_pod_that_is_not_known_yet_reaches_nothing():
    """Between its start and its address in the API a pod is cut off, from pods as from the node."""
    text = table(NAMESPACES, PODS, [])
    stranger = "ip saddr 10.244.0.0/16 ip saddr != @pods drop"
    assert stranger in chain(text, "forward")
    assert stranger in chain(text, "input")


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({}, ["10.244.1.1"], []),
        ({"policyTypes": ["Ingress", "Egress"]}, ["10.244.1.1"], ["10.244.1.1"]),
        ({"egress": []}, ["10.244.1.1"], ["10.244.1.1"]),
        ({"policyTypes": ["Egress"]}, [], ["10.244.1.1"]),
    ],
)
def test_a_policy_isolates_in_the_directions_it_names(spec, ingress, egress):
    """Incoming always, unless it names types; outgoing when it has a part about it."""
    text = made(**spec)
    assert elements(text, "isolated_ingress") == ingress
    assert elements(text, "isolated_egress") == egress
    assert chain(text, "ingress") == chain(text, "egress") == ["drop"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, "ip daddr { 10.244.1.1 } return"),
        ({"ports": [{"port": 80}]}, "ip daddr { 10.244.1.1 } tcp dport 80 return"),
        (
            {"ports": [{"protocol": "UDP", "port": 1, "endPort": 9}]},
            "ip daddr { 10.244.1.1 } udp dport 1-9 return",
        ),
        ({"ports": [{"port": "http"}]}, "ip daddr { 10.244.1.1 } tcp dport 8080 return"),
        (
            {"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]},
            "ip daddr { 10.244.1.1 } ip saddr { 10.244.1.2 } return",
        ),
        (
            {"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]},
            "ip daddr { 10.244.1.1 } ip saddr { 10.244.1.3 } return",
        ),
        (
            {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "db"}}}]},
            "ip daddr { 10.244.1.1 } ip saddr { 10.244.1.2, 10.244.1.3 } return",
        ),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]},
            "ip daddr { 10.244.1.1 } ip saddr 10.0.0.0/8 ip saddr != { 10.1.0.0/16 } return",
        ),
    ],
)
def test_a_rule_lets_through_what_it_names(rule, expected):
    """Peers by pod, by namespace, by both, by block; ports by number, range and name."""
    assert chain(made(ingress=[rule]), "ingress") == [expected, "drop"]


@pytest.mark.parametrize(
    "rule",
    [
        {"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]},
        {"ports": [{"port": "nothing"}]},
    ],
)
def test_a_rule_that_means_nobody_lets_nothing_through(rule):
    """A selector without pods and a port no pod has are nothing, not everything."""
    assert chain(made(ingress=[rule]), "ingress") == ["drop"]


def test_a_named_port_is_the_port_of_the_pod_that_is_called():
    """Outgoing to a port by name: of each pod that has one of that name."""
    text = made(egress=[{"ports": [{"port": "http"}]}])
    expected = "ip saddr { 10.244.1.1 } ip daddr { 10.244.1.1 } tcp dport 8080 return"
    assert chain(text, "egress") == [expected, "drop"]


@pytest.mark.parametrize(
    ("expression", "peers"),
    [
        ({"operator": "In", "values": ["web"]}, ["10.244.1.1"]),
        ({"operator": "NotIn", "values": ["web"]}, ["10.244.1.2"]),
        ({"operator": "Exists"}, ["10.244.1.1", "10.244.1.2"]),
        ({"operator": "DoesNotExist"}, []),
    ],
)
def test_selectors_know_expressions(expression, peers):
    """In, NotIn, Exists, DoesNotExist."""
    peer = {"podSelector": {"matchExpressions": [{"key": "app", **expression}]}}
    lines = chain(made(ingress=[{"from": [peer]}]), "ingress")[:-1]
    assert re.findall(r"[\d.]{7,}", " ".join(lines))[1:] == peers
