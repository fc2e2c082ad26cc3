"""The cluster of the tests does what a cluster does: without that, no other test here means anything."""

import http.client
import json
import os
import signal
import time

import pytest

from tests.cluster.commands import ClusterError, wait_for
from tests.kubernetes.pods import server

pytestmark = pytest.mark.kubernetes
DENY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: two}}, policyTypes: [Ingress]}
"""
ALLOW = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow}
spec:
  podSelector: {matchLabels: {app: two}}
  ingress: [{from: [{podSelector: {matchLabels: {app: one}}}], ports: [{port: http}]}]
"""
NO_EGRESS = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing}
spec: {podSelector: {matchLabels: {app: one}}, policyTypes: [Egress]}
"""
CONNECT = """
import json, socket, sys
def connects(target):
    try:
        socket.create_connection(target, 1).close()
    except OSError:
        return False
    return True
print(json.dumps([connects(tuple(target)) for target in json.loads(sys.argv[1])]))
"""
ASK = "import urllib.request as u; print(u.urlopen('http://{}:8080/', timeout=1).status)"


def status(address, port=8080):
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def run_pods(cluster, namespace, image, *names, **spec):
    for name in names:
        cluster.kubectl("-n", namespace, "apply", "-f", "-", input=server(name, image, **spec))
    pods = [f"pod/{name}" for name in names]
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", *pods, "--timeout=60s")
    return [cluster.get("-n", namespace, "pod", name)["status"]["podIP"] for name in names]


def reaches(cluster, namespace, pod, target):
    """Whether one pod gets an answer from an address."""
    command = ("-n", namespace, "exec", pod, "--", "python3", "-c", ASK.format(target))
    try:
        return cluster.kubectl(*command).strip() == "200"
    except ClusterError:
        return False


def connects(cluster, namespace, pod, targets):
    """Which of the targets a pod can open a connection to."""
    command = ("-n", namespace, "exec", pod, "--", "python3", "-c", CONNECT, json.dumps(targets))
    return json.loads(cluster.kubectl(*command))


def test_a_restricted_pod_becomes_ready_and_answers(cluster, namespace, sandbox_image):
    """A restricted pod is Ready and answers the host by its own address, by its Service's and by name to other pods."""
    (address,) = run_pods(cluster, namespace, sandbox_image, "one")
    cluster.kubectl("-n", namespace, "expose", "pod", "one", "--port=8080")
    service = cluster.get("-n", namespace, "service", "one")["spec"]["clusterIP"]
    assert status(address) == 200
    wait_for(lambda: status(service) == 200, "an answer through the Service", seconds=20)
    wait_for(lambda: reaches(cluster, namespace, "one", "one"), "an answer by name", seconds=20)


def test_a_pod_with_more_rights_is_refused(cluster, namespace, sandbox_image):
    """Pod Security restricted is in force: a pod in the host's network is refused by the API server."""
    pod = server("one", sandbox_image, hostNetwork=True)
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        cluster.kubectl("-n", namespace, "apply", "-f", "-", input=pod)


def test_the_audit_log_is_a_witness(cluster, namespace):
    """Who created an object, and when, can be read from the audit log."""
    cluster.kubectl("-n", namespace, "create", "configmap", "seen")

    def seen():
        return [
            entry["user"]["username"]
            for entry in cluster.audited(namespace)
            if entry["verb"] == "create" and entry["objectRef"].get("namespace") == namespace
            if entry["objectRef"]["resource"] == "configmaps" and entry["user"]["username"] == "admin"
        ]

    wait_for(lambda: seen() == ["admin"], "the entry in the audit log", seconds=10)


def test_a_second_node_is_lost_and_comes_back(cluster, namespace, sandbox_image, second_node):
    """Pods on two nodes reach each other; a node whose kubelet ends is found lost, and Ready again after its return."""
    cluster.load(sandbox_image)
    pinned = {"kubernetes.io/hostname": second_node.name}
    (far,) = run_pods(cluster, namespace, sandbox_image, "far", nodeSelector=pinned)
    run_pods(cluster, namespace, sandbox_image, "near", nodeSelector={"kubernetes.io/hostname": "node1"})
    assert reaches(cluster, namespace, "near", far)
    second_node.lose()
    node = f"node/{second_node.name}"
    cluster.kubectl("wait", "--for=condition=Ready=Unknown", node, "--timeout=60s")
    assert status(far) == 200
    second_node.come_back()
    cluster.kubectl("wait", "--for=condition=Ready", node, "--timeout=60s")


def test_policies_are_in_force_only_while_the_enforcer_is_on(cluster, namespace, sandbox_image, enforcer):
    """With the enforcer a denied pod is reached by whom a policy names, and by the host; without it by everybody."""
    _, two, _ = run_pods(cluster, namespace, sandbox_image, "one", "two", "three")

    def who():
        return [name for name in ("one", "three") if reaches(cluster, namespace, name, two)]

    wait_for(lambda: who() == ["one", "three"], "pods that reach each other", seconds=20)
    cluster.kubectl("-n", namespace, "apply", "-f", "-", input=DENY)
    wait_for(lambda: who() == [], "a denied pod", seconds=20)
    cluster.kubectl("-n", namespace, "apply", "-f", "-", input=ALLOW)
    wait_for(lambda: who() == ["one"], "a pod that only one other reaches", seconds=20)
    assert status(two) == 200
    enforcer(False)
    assert who() == ["one", "three"]
    enforcer(True)
    assert who() == ["one"]


def test_a_pod_without_egress_reaches_neither_pods_nor_the_node(cluster, namespace, sandbox_image, enforcer):
    """With the enforcer on and egress denied: no pod, no name, no API server, also after that was away for a while."""
    _, two = run_pods(cluster, namespace, sandbox_image, "one", "two")
    targets = [(two, 8080), ("10.96.0.1", 443), ("10.245.0.10", 6443), ("10.96.0.10", 53)]
    assert connects(cluster, namespace, "one", targets) == [True] * 4
    cluster.kill("kube-apiserver")
    cluster.start("kube-apiserver")
    cluster.kubectl("-n", namespace, "apply", "-f", "-", input=NO_EGRESS)
    wait_for(
        lambda: connects(cluster, namespace, "one", targets) == [False] * 4,
        "a pod that is cut off",
        seconds=30,
    )
    assert status(two) == 200


def test_a_pod_is_stopped_and_goes_on(cluster, namespace, sandbox_image):
    """The processes of a pod can be stopped and continued from outside."""
    (address,) = run_pods(cluster, namespace, sandbox_image, "one")
    (pid,) = cluster.processes_of(namespace, "one")
    os.kill(pid, signal.SIGSTOP)
    assert status(address) is None
    os.kill(pid, signal.SIGCONT)
    assert status(address) == 200


def test_the_api_server_comes_back(cluster, namespace):
    """An API server that was killed answers again when it is started, with all it knew."""
    cluster.kubectl("-n", namespace, "create", "configmap", "kept")
    cluster.kill("kube-apiserver")
    begun = time.monotonic()
    with pytest.raises(ClusterError):
        cluster.kubectl("--request-timeout=2s", "get", "--raw=/readyz")
    cluster.start("kube-apiserver")
    assert cluster.get("-n", namespace, "configmap", "kept")
    assert time.monotonic() - begun < 60
