"""The API and the command line of controllers in a cluster: one truth, which every replica reads and writes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.fixtures import Cluster, restricted_namespace
from tests.harness import KEY, XCORE, Answer, Controller, until
from tests.kubernetes import beside
from tests.support import HELLO, document, write_plugin
from tests.xcore.archives import tar_gz

pytestmark = pytest.mark.kubernetes

PLUGINS, HELLO_AT = "/api/v1/plugins", "/api/v1/plugins/hello"
MADE = ("pods", "deployments", "configmaps", "controllerrevisions")
LEGACY = Path(__file__).parents[2] / "examples" / "legacy" / "temperature"
AGAIN = HELLO.replace("Hello {name}", "Again {name}")


class House:
    """Two controllers of one cluster, beside it, with plugins in two namespaces."""

    def __init__(self, cluster: Cluster, namespaces: tuple[str, str], path: Path) -> None:
        self.cluster, self.namespaces, self.path = cluster, namespaces, path
        self.namespace = namespaces[0]
        self.folder = path / "sent"
        self.first, self.second = self.controller("first"), self.controller("second")

    def controller(self, name: str) -> Controller:
        return beside.controller(self.path, name, self.namespaces, self.cluster.kubeconfig)

    def xcore(self, *arguments: str, of: Controller | None = None, code: int = 0) -> str:
        """What the command line printed."""
        environment = {**os.environ, "XCORE_URL": (of or self.first).url, "XCORE_KEY": KEY}
        ran = subprocess.run(
            [XCORE, *arguments], env=environment, capture_output=True, text=True, timeout=150, check=False
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, input=stdin)

    def resource(self, name: str = "hello") -> Any:
        return self.cluster.get("--namespace", self.namespace, "plugin", name)

    def names(self, kind: str) -> list[str]:
        found = self.cluster.get("--namespace", self.namespace, kind, "--selector=xcore.dev/plugin")
        return sorted(item["metadata"]["name"] for item in found)

    def revisions(self, of: Controller | None = None) -> list[dict[str, Any]]:
        answer = (of or self.first).request("GET", "/api/v1/plugins/hello/revisions")
        items: list[dict[str, Any]] = answer.json["items"]
        return items


@pytest.fixture(scope="module")
def running(
    cluster: Cluster, definitions: None, sandbox_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """The house for all tests of this module: two controllers take seconds to start."""
    with restricted_namespace(cluster) as one, restricted_namespace(cluster) as other:
        made = House(cluster, (one, other), tmp_path_factory.mktemp("house"))
        controllers = (made.first, made.second)
        try:
            with ThreadPoolExecutor(2) as both:
                list(both.map(Controller.start, controllers))
            yield made
        finally:
            for controller in controllers:
                if controller.process is not None and controller.process.poll() is None:
                    controller.stop()


@pytest.fixture
def house(running: House) -> Iterator[House]:
    """Nothing in it, and nobody remembers anything."""
    yield running
    for namespace in running.namespaces:
        running.cluster.kubectl("-n", namespace, "delete", "plugins,quota", "--all")
    until(lambda: not any(running.names(kind) for kind in MADE), 60, "an empty house")
    for controller in (running.first, running.second):
        until(lambda c=controller: c.request("GET", PLUGINS).json["items"] == [], 20, "nothing known")


def body(name: str = "hello", **spec: Any) -> dict[str, Any]:
    """A plugin that asks for no pod, for what is told of it is enough."""
    return document(name, **{"operatingMode": "Suspended", **spec})


def form(manifest: dict[str, Any], code: str = HELLO, **files: bytes) -> dict[str, Any]:
    """The body of a request that sends a manifest with its code."""
    archive = tar_gz({"main.py": code.encode(), **files})
    return {"files": {"manifest": ("m", json.dumps(manifest), "application/json"), "archive": ("a", archive)}}


def post(controller: Controller, manifest: dict[str, Any], key: str = "", **files: bytes) -> Answer:
    headers = {"Idempotency-Key": key} if key else {}
    return controller.request("POST", PLUGINS, headers=headers, **form(manifest, **files))


def test_the_command_line_works_unchanged_and_through_any_replica(house: House) -> None:
    """apply, get, call, logs, revisions, rollback, suspend, resume, restart and delete, now here and now there."""
    folder = str(write_plugin(house.folder / "hello", HELLO))
    house.xcore("apply", "-f", folder, "--wait")
    assert house.resource()["spec"]["source"]["bundle"].startswith("sha256:")
    assert "hello" in house.xcore("get", of=house.second)
    house.second.wait_ready("hello")
    for controller in (house.first, house.second):
        assert controller.call("hello", "greet", {"name": "you"}).status == 200
    assert "unchanged" in house.xcore("apply", "-f", folder, of=house.second)

    write_plugin(house.folder / "hello", AGAIN)
    house.xcore("apply", "-f", folder, "--wait", of=house.second)
    house.first.wait_ready("hello")
    shown = house.xcore("revisions", "hello")
    assert [kept["how"] for kept in house.revisions()] == ["update", "create"], shown
    assert house.revisions(house.first) == house.revisions(house.second)
    house.xcore("rollback", "hello", "--to", "1", "--wait")
    assert [kept["how"] for kept in house.revisions(house.second)] == ["rollback", "update", "create"]

    house.xcore("logs", "hello", of=house.second)
    house.xcore("suspend", "hello", of=house.second)
    assert house.resource()["spec"]["operatingMode"] == "Suspended"
    until(lambda: not house.names("pods"), 60, "no pod")
    house.xcore("resume", "hello")
    before = house.names("pods")
    house.xcore("restart", "hello", of=house.second)
    assert house.names("pods") != before

    house.xcore("delete", "hello", "--wait", of=house.second)
    for kind in MADE:
        assert house.names(kind) == []
    assert house.first.request("GET", "/api/v1/plugins/hello").status == 404


def test_of_two_who_change_the_same_at_once_one_is_told(house: House) -> None:
    """Whichever replicas they ask: a new name is given once, and a version is changed once."""
    replicas = (house.first, house.second)

    def make(replica: Controller) -> int:
        return post(replica, body()).status

    def change(numbered: tuple[int, Controller]) -> int:
        number, replica = numbered
        changes = {"spec": {"description": f"by {number}"}}
        return replica.request("PATCH", HELLO_AT, json=changes, headers={"If-Match": tag}).status

    with ThreadPoolExecutor(2) as both:
        assert sorted(both.map(make, replicas)) == [201, 409]
        tag = house.first.request("GET", HELLO_AT).headers["etag"]
        until(lambda: house.second.request("GET", HELLO_AT).headers.get("etag") == tag, 10)
        assert sorted(both.map(change, enumerate(replicas))) == [200, 412]


def test_what_kubectl_changes_is_a_revision_too(house: House) -> None:
    """It has a number, tells who wrote it, ends the version that was read before, and what was before can be had again."""
    made = post(house.first, body())
    assert made.status == 201, made.content
    house.kubectl("patch", "plugin", "hello", "--type=merge", '--patch={"spec": {"description": "edited"}}')
    refused = house.first.request(
        "PATCH", HELLO_AT, json={"spec": {"description": "mine"}}, headers={"If-Match": made.headers["etag"]}
    )
    assert (refused.status, refused.reason) == (412, "PreconditionFailed")
    first, second = reversed(house.revisions(house.second))
    assert (first["how"], first["by"], first["wanted"]) == ("create", "admin", False)
    assert (second["how"], second["by"], second["wanted"]) == ("update", "kubectl-patch", True)
    back = house.second.request("POST", f"{HELLO_AT}/rollback", json={"revision": 1})
    assert back.status == 202, back.content
    assert house.resource()["spec"]["description"] == ""
    assert [kept["how"] for kept in house.revisions()] == ["rollback", "update", "create"]
    # Its status is written all the time, and is no change of what is wanted.
    tag = house.first.request("GET", HELLO_AT).headers["etag"]
    house.kubectl(
        "patch",
        "plugin",
        "hello",
        "--subresource=status",
        "--type=merge",
        '--patch={"status": {"phase": "x"}}',
    )
    again = house.second.request(
        "PATCH", HELLO_AT, json={"spec": {"description": "mine"}}, headers={"If-Match": tag}
    )
    assert again.status == 200, again.content


def test_an_order_that_comes_again_to_another_replica_is_carried_out_once(house: House) -> None:
    """The revision itself remembers the Idempotency-Key it was made for."""
    assert [post(c, body(), "once").status for c in (house.first, house.second)] == [201, 201]
    assert len(house.revisions()) == 1
    assert post(house.second, body(), "another").status == 409


def test_ten_revisions_are_kept_in_the_cluster(house: House) -> None:
    """The oldest go, and go with the plugin."""
    post(house.first, body())
    for number in range(12):
        sent = house.first.request("PATCH", HELLO_AT, json={"spec": {"description": f"{number}"}})
        assert sent.status == 200, sent.content
    assert [kept["revision"] for kept in house.revisions(house.second)] == list(range(13, 3, -1))
    assert len(house.names("controllerrevisions")) == 10
    gone = house.second.request("DELETE", f"{HELLO_AT}?wait=Gone")
    assert gone.status == 200, gone.content
    assert house.names("controllerrevisions") == house.names("configmaps") == []


def test_a_name_that_is_there_already_is_changed_where_it_is(house: House) -> None:
    """A new plugin goes into the first namespace; one of another namespace stays there."""
    elsewhere = body("elsewhere", source={"image": "xcore-test.invalid/web:1"})
    del elsewhere["spec"]["entrypoint"]
    house.cluster.kubectl(
        "--namespace", house.namespaces[1], "create", "-f", "-", input=json.dumps(elsewhere)
    )
    at = f"{PLUGINS}/elsewhere"
    until(lambda: house.first.request("GET", at).status == 200, 10)
    assert house.first.request("POST", PLUGINS, json=elsewhere).status == 409
    assert house.first.request("PATCH", at, json={"spec": {"description": "changed"}}).status == 200
    found = house.cluster.get("--namespace", house.namespaces[1], "plugin", "elsewhere")
    assert found["spec"]["description"] == "changed"
    assert house.cluster.get("--namespace", house.namespaces[0], "plugins") == []
    # The younger of two has no name here; it gets it when the older goes, and nothing of it goes then.
    later = body("elsewhere", source={"image": "xcore-test.invalid/web:2"})
    del later["spec"]["entrypoint"]
    created = datetime.fromisoformat(found["metadata"]["creationTimestamp"]).timestamp()
    until(lambda: time.time() > created + 1, 10)  # ages are told in whole seconds
    house.kubectl("create", "-f", "-", stdin=json.dumps(later))
    assert house.second.request("DELETE", f"{at}?wait=Gone&timeoutSeconds=30").status == 200
    until(lambda: house.first.request("GET", at).status == 200, 10)
    assert house.resource("elsewhere")["spec"]["source"]["image"] == "xcore-test.invalid/web:2"


def test_code_that_does_not_fit_the_cluster_leaves_nothing_behind(house: House) -> None:
    """Over 1000 KiB: 422, and what to do instead."""
    refused = post(house.first, body(), **{"big.bin": os.urandom(1_100_000)})
    assert (refused.status, refused.reason) == (422, "InvalidBundle")
    assert "xcore pack --image" in refused.json["detail"]
    assert house.names("configmaps") == []
    assert house.first.request("GET", HELLO_AT).status == 404


def test_what_the_cluster_refuses_is_told_in_its_words_and_leaves_nothing_behind(house: House) -> None:
    """A quota, say: neither a plugin nor its code is there, and it may be sent again."""
    house.kubectl("create", "quota", "none", "--hard=count/plugins.xcore.dev=0")
    house.kubectl("wait", "quota/none", "--for=jsonpath={.status.hard}", "--timeout=30s")
    refused = post(house.first, body(), "mine")
    assert (refused.status, refused.reason) == (503, "WorkloadRejected")
    assert "exceeded quota: none" in refused.json["detail"]
    assert house.names("configmaps") == []
    house.kubectl("delete", "quota", "none")
    until(lambda: post(house.first, body(), "mine").status == 201, 30)


def test_code_that_the_cluster_does_not_have_is_told_and_can_be_sent_again(house: House) -> None:
    """A resource that only names a bundle, and one whose ConfigMap was deleted: BundleNotFound, in every replica."""
    made = post(house.first, body())
    named = made.json["spec"]["source"]["bundle"]
    [name] = house.names("configmaps")
    house.kubectl("delete", "configmap", name)
    lost = body("lost", source={"bundle": named})
    house.kubectl("create", "-f", "-", stdin=json.dumps(lost))
    for controller in (house.first, house.second):
        until(lambda c=controller: c.condition("lost", "ResolvedRefs")[:2] == ("False", "BundleNotFound"), 20)
    assert house.second.condition("lost", "ResolvedRefs")[2].startswith("there is no ConfigMap xcore-lost-")
    sent = house.second.request("PUT", f"{PLUGINS}/lost", **form(lost))
    assert sent.status == 200, sent.content
    until(lambda: house.first.condition("lost", "ResolvedRefs")[0] == "True", 40)


def test_an_old_plugin_is_sent_into_a_cluster_like_any_other(house: House) -> None:
    """Its pod answers both forms, through any replica."""
    house.xcore("apply", "-f", str(LEGACY), "--wait", "--timeout", "120")
    assert house.resource("temperature-tools")["spec"]["legacy"]["timeoutSeconds"] == 5
    house.second.wait_ready("temperature-tools")
    assert house.second.call("temperature-tools", "feel", {"value": 25}).json["word"] == "warm"
    old = {"json": {"payload": {"value": 25}}, "headers": {"Accept": "application/vnd.xcore.v0+json"}}
    answer = house.first.request("POST", "/app/temperature-tools/feel", **old).json
    assert (answer["status"], answer["result"]["word"]) == ("ok", "warm")
