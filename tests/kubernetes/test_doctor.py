"""`xcore doctor` of a controller in a cluster: from outside, through its API, and in its pod. It names the hop that fails."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.fixtures import Cluster
from tests.harness import XCORE, until
from tests.kubernetes.release import Release, released
from tests.kubernetes.rendering import ROOT
from tests.kubernetes.serving import controllers, service_of

pytestmark = pytest.mark.kubernetes
HELLO = (ROOT / "examples/kubernetes/hello.yaml").read_text()

Findings = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def release(cluster: Cluster, controller_image: str) -> Iterator[Release]:
    """A controller, and hello beside it; nobody enforces policies."""
    with released(cluster, controller_image.rpartition(":")[2]) as made:
        made.helm("install", "--wait", "--timeout=90s")
        apply(made, "hello")
        yield made


def apply(release: Release, name: str) -> None:
    wanted = HELLO.replace("name: hello\n", f"name: {name}\n")
    release.cluster.kubectl("apply", "-n", release.plugins, "-f", "-", input=wanted)


def from_outside(release: Release, *names: str, key: bool = True) -> Findings:
    """What the command finds on this machine, asking the controller's Service."""
    environment = {**os.environ, "XCORE_URL": service_of(release)}
    if key:
        environment["XCORE_KEY"] = release.key()
    done = subprocess.run(
        [XCORE, "doctor", *names, "-o", "json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = read(done.stdout)
    assert done.returncode == ("fail" in {each["level"] for each in found.values()}), done.stderr
    return found


def in_the_pod(release: Release) -> Findings:
    """What the same command finds in the controller's own pod."""
    words = ("exec", "-n", release.name, "deploy/xcore", "--", "sh", "-c", "xcore doctor -o json || true")
    return read(release.cluster.kubectl(*words))


def read(text: str) -> Findings:
    return {finding["check"]: finding for finding in json.loads(text)["findings"]}


def failing(found: Findings) -> list[str]:
    return [check for check, finding in found.items() if finding["level"] == "fail"]


def test_an_open_network_is_named_and_a_closed_one_proven(
    release: Release, enforcer: Callable[[bool], None]
) -> None:
    """With the enforcer off the policy is what fails, and all else is well; with it on nothing fails, inside and outside."""
    enforcer(False)
    until(lambda: failing(from_outside(release)) == ["network-policy"], 60)
    found = from_outside(release, "hello")
    assert "a sandbox reaches" in found["network-policy"]["message"]
    assert found["request"]["level"] == "ok"
    assert "engine" not in found, "this machine's Docker has nothing to do with it"

    enforcer(True)
    apply(release, "later")
    until(lambda: failing(from_outside(release)) == [], 60)
    inside, outside = in_the_pod(release), from_outside(release)
    assert inside.keys() - {"settings", "space-state-dir"} == outside.keys()
    assert {finding["level"] for finding in inside.values()} == {"ok"}, inside
    assert inside["dns"]["message"].startswith(f"the controller's Service xcore.{release.name}.svc is 10.")


def test_without_a_key_it_says_that_there_is_more(release: Release) -> None:
    assert from_outside(release, key=False)["api"]["level"] == "warn"


def test_a_right_that_was_taken_away_is_named(release: Release) -> None:
    """By verb, kind and namespace; given back, all is well again."""
    at, kubectl = ("-n", release.plugins, "rolebinding", "xcore"), release.cluster.kubectl
    binding: dict[str, Any] = release.cluster.get(*at)
    kubectl("delete", *at)
    try:
        until(lambda: "rights" in failing(from_outside(release)), 20)
        said = from_outside(release)["rights"]["message"]
        assert f"system:serviceaccount:{release.name}:xcore may not" in said
        assert f"list plugins.xcore.dev in {release.plugins}" in said
        assert "rights" in failing(in_the_pod(release))
    finally:
        meta = {key: binding["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
        kubectl("create", "-f", "-", input=json.dumps({**binding, "metadata": meta}))
    until(lambda: "rights" not in failing(from_outside(release)), 20)


def test_an_image_that_no_node_has_is_named(release: Release) -> None:
    """That of the sandboxes, and where the plugin itself is held up."""
    missing = "127.0.0.1:1/sandbox:1"
    release.helm("upgrade", "--wait", "--timeout=90s", sandboxImage=missing)
    (controller,) = controllers(release)
    until(lambda: controller in from_outside(release)["leader"]["message"], 60)
    apply(release, "nowhere")
    until(lambda: "sandbox-image" in failing(from_outside(release)), 60)
    found = from_outside(release, "nowhere")
    assert missing in found["sandbox-image"]["message"]
    assert {"sandbox-image", "image"} <= set(failing(found))
    assert "onto the nodes" in found["image"]["advice"]
    served = release.cluster.get("plugin", "hello", "-n", release.plugins)["status"]
    assert served["image"] != missing, "what ran before is not rolled, and told as it is"


def test_a_service_without_a_name_is_named(release: Release) -> None:
    """Its pods go on; whoever calls it by name does not."""
    release.cluster.kubectl("delete", "service", "xcore", "-n", release.name)
    until(lambda: "dns" in failing(in_the_pod(release)), 60)


def test_an_api_server_that_is_away_is_named(release: Release) -> None:
    """The controller answers all the same, and says whom it cannot reach."""
    cluster = release.cluster
    (address,), key = controllers(release).values(), release.key()
    cluster.kill("kube-apiserver")
    try:
        environment = {**os.environ, "XCORE_URL": address, "XCORE_KEY": key}
        command = [XCORE, "doctor", "-o", "json"]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert failing(read(done.stdout)) == ["api-server"]
    finally:
        cluster.start("kube-apiserver")
