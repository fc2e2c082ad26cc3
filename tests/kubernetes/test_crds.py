"""The definitions, judged by a real API server: applied as they are, each rule asked, unknown fields and defaults seen."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.commands import ClusterError
from tests.kubernetes.vectors import CODE, EVERY, Document, Vector, code, ids, resource
from xcore import crd
from xcore.runtimes.kubernetes.client import Refusal, connect
from xcore.runtimes.kubernetes.objects import collection

pytestmark = pytest.mark.kubernetes
EXAMPLES = sorted((Path(__file__).parents[2] / "examples/kubernetes").glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def _definitions(cluster) -> None:
    """As `kubectl apply` does it by default: on the client's side, with a copy of each in an annotation."""
    definitions = {"apiVersion": "v1", "kind": "List", "items": crd.definitions()}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(definitions))
    names = (f"crd/{item['metadata']['name']}" for item in definitions["items"])
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)


@pytest.fixture(scope="module")
def namespace(cluster) -> Iterator[str]:
    name = f"crds-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def attempt(cluster, namespace: str, document: Document, *more: str) -> str:
    """What the API server says against an object; empty when it takes it. Nothing is stored."""
    words = ("create", "--namespace", namespace, "--dry-run=server", "--output=name", *more, "-f", "-")
    try:
        cluster.kubectl(*words, input=json.dumps(document))
    except ClusterError as error:
        return str(error)
    return ""


def create(cluster, namespace: str, spec: Document, *more: str) -> Any:
    """Give the object as the API server keeps it."""
    document = resource("Plugin", spec, f"p-{secrets.token_hex(3)}")
    words = ("create", "--namespace", namespace, "--output=json", *more, "-f", "-")
    return json.loads(cluster.kubectl(*words, input=json.dumps(document)))


@pytest.mark.parametrize("pair", EVERY, ids=ids)
def test_each_rule_lets_pass_and_refuses(cluster, namespace, pair: tuple[str, Vector]):
    """The API server takes each spec that keeps a rule, and refuses each that breaks it, with its words and the field's name."""
    kind, vector = pair
    for spec in vector.good:
        assert attempt(cluster, namespace, resource(kind, spec)) == "", spec
    for spec in vector.bad:
        said = attempt(cluster, namespace, resource(kind, spec))
        assert vector.words in said, spec
        assert vector.field.rpartition(".")[2].removesuffix("[]") in said, spec


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (resource("Plugin", CODE, "a" * 64), "may not be more than 63"),
        (resource("Plugin", CODE, "a.b"), "metadata.name"),
        (resource("Plugin", code(replicas=101)), "less than or equal to 100"),
        (resource("Plugin", code(replicas="1")), "must be of type integer"),
        (resource("Plugin", code(version="v 1")), "spec.version"),
        (resource("Plugin", code(env=[{"name": "A"}, {"name": "A"}])), "Duplicate value"),
        (resource("Plugin", code(calls=["a", "a"])), "Duplicate value"),
        (resource("Plugin", code(calls=[f"p{n}" for n in range(65)])), "must have at most 64 items"),
        (resource("Plugin", code(description="x" * 1025)), "may not be more than 1024"),
        (resource("Plugin", code(operatingMode="Sleeping")), "Unsupported value"),
        (resource("Plugin", code(traffic={"queue": {"timeoutSeconds": 601}})), "less than or equal to 600"),
        (resource("Plugin", code(resources={"memory": "lots"})), "spec.resources.memory"),
        (resource("Plugin", {"entrypoint": "main:Hello"}), "spec.source"),
        (resource("PluginClass", {"minimumSecurityRating": 9}), "less than or equal to 8"),
        (resource("PluginClass", {"allowedRegistries": ["https://x"]}), "allowedRegistries"),
    ],
)
def test_every_bound_is_the_servers(cluster, namespace, document, words):
    """What is too long, too many, of the wrong kind or missing is refused before any controller sees it."""
    assert words in attempt(cluster, namespace, document)


def test_an_unknown_field_is_refused_by_kubectl(cluster, namespace):
    """A misspelt field, and what nobody but the platform decides about a pod, is an error for whoever applies it."""
    for field in ({"replica": 2}, {"nodeName": "n"}, {"tolerations": []}, {"serviceAccountName": "admin"}):
        said = attempt(cluster, namespace, resource("Plugin", code(**field)))
        assert f'unknown field "spec.{next(iter(field))}"' in said


def test_an_unknown_field_is_dropped_for_other_clients(cluster, namespace):
    """A client that does not ask for strictness gets an object without it; free-form config stays as it was."""
    spec = code(nodeName="n", config={"free": {"form": [1, {"a": None}]}})
    kept = create(cluster, namespace, spec, "--validate=ignore")["spec"]
    assert "nodeName" not in kept
    assert kept["config"] == spec["config"]


async def test_an_unknown_field_is_refused_in_whatever_the_controller_writes(cluster, namespace):
    """Made, applied, changed or replaced: the server names the field, instead of dropping it without a word."""
    name = create(cluster, namespace, CODE)["metadata"]["name"]
    kept = cluster.get("plugin", name, "--namespace", namespace)
    wrong = {**kept, "spec": {**kept["spec"], "replica": 2}}
    applied = {**resource("Plugin", wrong["spec"], name), "metadata": {"name": name}}
    path, server = collection("Plugin", namespace), await connect(str(cluster.kubeconfig))
    writes = (
        lambda: server.create(path, resource("Plugin", wrong["spec"], "new")),
        lambda: server.apply(f"{path}/{name}", applied),
        lambda: server.merge(f"{path}/{name}", {"spec": {"replica": 2}}),
        lambda: server.replace(f"{path}/{name}", wrong),
        lambda: server.merge(f"{path}/{name}/status", {"status": {"phase": "x"}}),
    )
    try:
        for write in writes:
            with pytest.raises(Refusal, match=r"unknown field|field not declared"):
                await write()
    finally:
        await server.aclose()


def test_defaults_are_filled_in(cluster, namespace):
    """What is stored spells the defaults out, but for what must be told apart from one."""
    kept = create(cluster, namespace, CODE)["spec"]
    assert (kept["replicas"], kept["operatingMode"]) == (1, "Running")
    assert kept["resources"] == {"cpu": "500m", "memory": "128Mi", "pids": "64", "tmp": "16Mi"}
    assert kept["traffic"]["queue"] == {"maxLength": 64, "timeoutSeconds": 10}
    assert "egress" not in kept["network"]
    assert "path" not in kept["probes"]["readiness"]


def test_status_and_scale_are_subresources(cluster, namespace):
    """`kubectl scale` works; a status is written apart and shows in the columns; whoever writes the spec leaves it alone."""
    name = create(cluster, namespace, CODE)["metadata"]["name"]
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Ready"},
        {"type": "NetworkIsolated", "status": "True", "reason": "Enforced"},
    ]
    status = {"replicas": 2, "readyReplicas": 2, "endpoint": f"/app/{name}", "conditions": conditions}
    status |= {"restarts": {"count": 4, "lastReason": None, "lastExitCode": None, "nextTime": None}}
    at = (name, "--namespace", namespace)
    patch = json.dumps({"status": status})
    cluster.kubectl("patch", "plg", *at, "--subresource=status", "--type=merge", "--patch", patch)
    cluster.kubectl("patch", "plg", *at, "--type=merge", "--patch", '{"status": {"replicas": 99}}')
    cluster.kubectl("scale", "plg", *at, "--replicas=3")
    assert cluster.kubectl("get", "plg", *at, "-o", "jsonpath={.spec.replicas}") == "3"
    head, row = cluster.kubectl("get", "plg", *at, "-o", "wide").splitlines()
    told = [
        "READY",
        "REASON",
        "REPLICAS",
        "RESTARTS",
        "VERSION",
        "AGE",
        "ENDPOINT",
        "IMAGE",
        "RATING",
        "ISOLATED",
    ]
    assert head.split() == ["NAME", *told]
    assert row.split()[:6] == [name, "True", "Ready", "2", "4", "0.0.0"]
    assert row.split()[-2:] == [f"/app/{name}", "True"]


def test_kubectl_explains(cluster):
    said = cluster.kubectl("explain", "plugin.spec.traffic.queue")
    assert "Requests that may wait when all places are taken." in said
    assert "maxLength" in said


def test_plugins_are_found_by_their_short_name_and_category(cluster, namespace):
    name = create(cluster, namespace, CODE)["metadata"]["name"]
    for word in ("plg", "xcore", "plugins.xcore.dev"):
        assert name in cluster.kubectl("get", word, "--namespace", namespace)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_applies(cluster, namespace, file: Path):
    """`kubectl apply` takes each file in examples/kubernetes, strictly validated; a second time it changes nothing."""
    made = ("get", "-f", str(file), "--namespace", namespace, "-o", "jsonpath={..resourceVersion}")
    versions = set()
    for _ in range(2):
        cluster.kubectl("apply", "--namespace", namespace, "-f", str(file))
        versions.add(" ".join(cluster.kubectl(*made).split()))
    cluster.kubectl("delete", "--namespace", namespace, "-f", str(file))
    assert len(versions) == 1
