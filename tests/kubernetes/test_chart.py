"""The chart as it is rendered: values, rights, pods, secrets, and the judgement of other people's tools."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.image.tag import release_tag
from controller.operator.rights import wanted
from manifests.render import INSTALL, crd_templates, install
from tests.cluster import build
from tests.kubernetes.rendering import (
    CHART,
    EVERYTHING,
    NAMESPACE,
    ROOT,
    helm_template,
    named,
    objects,
    pods,
    rendered,
    tool,
)

# The programs of the cluster may have to be built first.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]
# Policies of checkov that do not fit, each with its reason. All others hold.
ACCEPTED = {
    "CKV_K8S_15": "pull policy: a release's tag never moves, and a node may have the image from elsewhere",
    "CKV_K8S_35": "a secret as an environment variable: the controller's settings are; no plugin sees them",
    "CKV_K8S_38": "a service account's token: the controller is a client of the API server",
    "CKV_K8S_43": "no digest: who publishes an image knows it; image.tag takes tag@sha256:…",
}
# Of the pod of `helm test`, which runs to its end.
ACCEPTED_OF_TEST = {"CKV_K8S_8": "no liveness probe", "CKV_K8S_9": "no readiness probe"}


@pytest.fixture(scope="module")
def helm() -> Path:
    return build.programs() / "helm"


@pytest.fixture(
    scope="module", params=[{}, EVERYTHING, {"rbac.cluster": "true"}], ids=["default", "all", "cluster"]
)
def text(request, helm) -> str:
    return rendered(helm, **request.param)


# -- what is made from something else ------------------------------------------------------------------------------


def test_definitions_in_the_chart_are_the_models():
    """The chart's CustomResourceDefinitions are what the models give today (`make manifests` writes them)."""
    made = dict(crd_templates())
    assert made == {name: (ROOT / name).read_text("utf-8") for name in made}
    assert {(ROOT / name).name for name in made} == {
        path.name for path in (CHART / "templates/crds").iterdir()
    }


def test_install_yaml_is_the_chart(helm):
    """What is applied without Helm is what the chart renders (`make manifests` writes it)."""
    assert (ROOT / INSTALL).read_text("utf-8") == install(str(helm))


def test_chart_and_manifests_name_the_image_that_is_built(helm):
    """The default image is the one `make image` makes: the chart's version is the project's."""
    (chart,) = (spec for name, spec in pods(rendered(helm)) if name == "xcore")
    (rendering,) = (spec for _, spec in pods((ROOT / INSTALL).read_text("utf-8")))
    assert {spec["containers"][0]["image"] for spec in (chart, rendering)} == {release_tag()}


def test_kustomize_gives_what_install_yaml_holds():
    """`kubectl apply -k manifests/` and `-f manifests/install.yaml` apply the same."""
    kubectl = build.programs() / "kubectl"
    made = subprocess.run(
        [kubectl, "kustomize", ROOT / "manifests"], capture_output=True, text=True, check=True
    )
    one, other = (
        sorted(
            objects(text),
            key=lambda o: (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]),
        )
        for text in (made.stdout, (ROOT / INSTALL).read_text("utf-8"))
    )
    assert one == other


def test_install_yaml_holds_no_secret():
    assert named((ROOT / INSTALL).read_text("utf-8"), "Secret") == []


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"replica": "2"}, "replica"),
        ({"image.tags": "1"}, "tags"),
        ({"networkPolicy.enable": "false"}, "enable"),
        ({"namespaces.limitRange.defaults.cpu": "1"}, "defaults"),
        ({"replicas": "many"}, "replicas"),
        ({"service.type": "Loadbalancer"}, "service/type"),
        ({"pluginNamespaces[0]": "Plugins"}, "pluginNamespaces/0"),
        ({"pluginNamespaces": "null"}, "pluginNamespaces"),
        ({"settings.HOST": "0.0.0.0"}, "invalid propertyName 'HOST'"),
        ({"settings.logFormat": "json"}, "invalid propertyName 'logFormat'"),
        ({"resources.limits.memory": "lots"}, "memory"),
        ({"httpRoute.enabled": "true"}, "httpRoute.parentRefs names the Gateway"),
        ({"ingress.enabled": "true", "ingress.tlsSecret": "tls"}, "ingress.host is needed"),
        ({"replicas": "2"}, "replicas: two controllers or more share a PostgreSQL; database.existingSecret"),
        (
            {"database.existingSecret": "mine", "database.volume.enabled": "true"},
            "database.volume is for SQLite",
        ),
        ({"grantedCalls[0]": "shop"}, "grantedCalls/0"),
        ({"settings.GRANTED_CALLS": "shop:stock"}, "invalid propertyName 'GRANTED_CALLS'"),
        ({"database.url": "postgresql://u:p@h/d"}, "url"),
    ],
)
def test_a_wrong_value_is_refused(helm, values, told):
    """A misspelt or impossible value fails with its name, and nothing is rendered."""
    done = helm_template(helm, **values)
    assert done.returncode != 0
    assert told in done.stderr


def described(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in schema.get("properties", {}).items():
        yield f"{path}.{name}".lstrip("."), value
        yield from described(value, f"{path}.{name}".lstrip("."))


def test_every_value_is_explained_and_has_a_default():
    """The schema has a sentence for each value in values.yaml, and knows no other but Helm's own."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    known = dict(described(schema))
    assert [path for path, value in known.items() if not value.get("description")] == []
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, value in values.items():
        fields = schema["properties"][name].get("properties", {})
        assert not fields or set(value) == set(fields), name


# -- rights --------------------------------------------------------------------------------------------------------


def rules(text: str) -> list[dict[str, Any]]:
    return [rule for kind in ("Role", "ClusterRole") for role in named(text, kind) for rule in role["rules"]]


def test_no_right_is_a_wildcard(text):
    for rule in rules(text):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], rule
        assert "nonResourceURLs" not in rule


def test_nothing_that_could_become_more(text):
    """No Secrets, no exec into pods, no tokens, no changing of rights, no nodes, no webhooks."""
    allowed = {
        (resource, verb) for rule in rules(text) for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert not {verb for _, verb in allowed} & {"escalate", "bind", "impersonate", "deletecollection"}
    refused = r"secrets|pods/(exec|attach|portforward|ephemeralcontainers)|serviceaccounts.*|.*roles?(bindings)?|nodes.*"
    assert not [resource for resource, _ in allowed if re.fullmatch(refused, resource)]


def test_by_default_rights_end_at_the_namespaces_of_plugins(helm):
    """Cluster-wide it only reads classes."""
    text = rendered(helm, **{"pluginNamespaces[0]": "team-a", "pluginNamespaces[1]": "team-b"})
    (wide,) = named(text, "ClusterRole")
    assert wide["rules"] == [
        {"apiGroups": ["xcore.dev"], "resources": ["pluginclasses"], "verbs": ["get", "list", "watch"]}
    ]
    there = {role["metadata"]["namespace"] for role in named(text, "Role")}
    assert there == {"team-a", "team-b", NAMESPACE}
    (controller,) = (spec for name, spec in pods(text) if name == "xcore")
    told = {e["name"]: e.get("value") for e in controller["containers"][0]["env"]}
    assert json.loads(told["XCORE_PLUGIN_NAMESPACES"]) == ["team-a", "team-b", NAMESPACE]


# -- pods ----------------------------------------------------------------------------------------------------------


def test_every_pod_is_restricted(text):
    """Numeric user, no root, no capability, a read-only root, a system call filter, nothing of the host; bounded."""
    for name, spec in pods(text):
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
        assert {next(iter(volume.keys() - {"name"})) for volume in spec.get("volumes", ())} <= {"emptyDir"}
        security = spec["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] > 10_000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "privileged": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys(), name


def test_more_than_one_controller_survives_a_drain(helm):
    assert named(rendered(helm), "PodDisruptionBudget") == []
    text = rendered(helm, **{"replicas": "2", "database.existingSecret": "database"})
    (budget,), (deployment,) = named(text, "PodDisruptionBudget"), named(text, "Deployment")
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_an_upgrade_changes_no_selector(helm):
    """What finds the controller's pods holds no version: Kubernetes would refuse the change."""
    (deployment,) = named(rendered(helm), "Deployment")
    assert "0.1.0" not in json.dumps(deployment["spec"]["selector"])


def test_namespaces_of_plugins_are_closed(helm):
    """Pod Security restricted, nothing in or out by default, a quota, limits."""
    text = rendered(helm)
    (namespace,) = named(text, "Namespace")
    assert namespace["metadata"]["name"] == "xcore-plugins"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    there = {
        o["kind"]: o.get("spec") for o in objects(text) if o["metadata"].get("namespace") == "xcore-plugins"
    }
    assert there["NetworkPolicy"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert {"pods", "limits.memory", "requests.ephemeral-storage"} <= there["ResourceQuota"]["hard"].keys()
    assert "default" in there["LimitRange"]["limits"][0]


# -- the key -------------------------------------------------------------------------------------------------------


def test_the_key_is_in_its_secret_and_nowhere_else(helm):
    text = rendered(helm)
    (secret,) = named(text, "Secret")
    key = secret["data"]["admin-key"]
    assert len(key) > 64
    assert text.count(key) == 1


def test_a_secret_of_yours_is_taken(helm):
    text = rendered(helm, **{"adminKey.existingSecret": "mine"})
    assert named(text, "Secret") == []
    keys = [e for _, spec in pods(text) for c in spec["containers"] for e in c["env"] if "KEY" in e["name"]]
    assert {e["valueFrom"]["secretKeyRef"]["name"] for e in keys} == {"mine"}


# -- the database -------------------------------------------------------------------------------------------------


def test_with_a_volume_one_controller_keeps_its_rows(helm):
    """SQLite on a claim that an uninstallation keeps; the old controller ends before the new one starts."""
    text = rendered(helm, **{"database.volume.enabled": "true", "database.volume.storageClass": "fast"})
    (claim,), (deployment,) = named(text, "PersistentVolumeClaim"), named(text, "Deployment")
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}


def test_calls_between_plugins_open_what_they_need_and_without_a_grant_nothing_is_there(helm):
    """A port, a Service of its own whatever the other one's type is, a way in for plugins' pods, a right: all of them or none."""
    text = rendered(helm, **{"grantedCalls[0]": "shop:stock", "service.type": "LoadBalancer"})
    services = {item["metadata"]["name"]: item["spec"] for item in named(text, "Service")}
    assert services["xcore-calls"].get("type", "ClusterIP") == "ClusterIP"
    assert [port["port"] for port in services["xcore-calls"]["ports"]] == [8001]
    assert [port["name"] for port in services["xcore"]["ports"]] == ["http"]
    (container,) = (spec["containers"][0] for name, spec in pods(text) if name == "xcore")
    told = {item["name"]: item.get("value") for item in container["env"]}
    assert told["XCORE_GRANTED_CALLS"] == '["shop:stock"]'
    assert told["XCORE_CALLS_ADDRESS"] == f"xcore-calls.{NAMESPACE}:8001"
    (policy,) = (item["spec"] for item in named(text, "NetworkPolicy") if item["metadata"]["name"] == "xcore")
    _, calls = policy["ingress"]
    assert calls["ports"] == [{"port": "calls", "protocol": "TCP"}]
    assert all(
        peer["podSelector"]["matchExpressions"][0]["key"] == "xcore.dev/plugin" for peer in calls["from"]
    )
    granted = {
        tuple(right)
        for role in named(text, "ClusterRole")
        for rule in role["rules"]
        for right in product(rule["verbs"], rule["apiGroups"], rule["resources"], [""])
    }
    asked = set(map(tuple, wanted([], NAMESPACE, calls=True))) - set(
        map(tuple, wanted([], NAMESPACE, calls=False))
    )
    assert asked <= granted
    without = "".join(
        json.dumps(item) for item in objects(rendered(helm)) if "Definition" not in item["kind"]
    )
    for trace in ("-calls", "8001", "CALLS", "tokenreviews"):
        assert trace in text
        assert trace not in without


def test_a_postgresql_is_named_by_a_secret_and_upgraded_first(helm):
    """Its URL stands in no object; a job upgrades its schema before the controllers, and they may reach its port."""
    text = rendered(helm, **{"database.existingSecret": "mine", "database.ports[0]": "6432"})
    (job,) = named(text, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    url = {"name": "XCORE_DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "url"}}}
    for name in ("xcore", "xcore-database"):
        (spec,) = (spec for of, spec in pods(text) if of == name)
        assert url in spec["containers"][0]["env"]
    (policy,) = (each for each in named(text, "NetworkPolicy") if each["metadata"]["name"] == "xcore")
    open_ports = [port for rule in policy["spec"]["egress"] for port in rule.get("ports", ())]
    assert {"port": 6432, "protocol": "TCP"} in open_ports


# -- other people's tools ------------------------------------------------------------------------------------------


def everything_there_is(helm: Path, folder: Path) -> list[str]:
    files = [str(ROOT / INSTALL)]
    for name, values in (("default", {}), ("all", EVERYTHING), ("cluster", {"rbac.cluster": "true"})):
        files.append(str(folder / f"{name}.yaml"))
        Path(files[-1]).write_text(rendered(helm, **values))
    return files


def test_every_object_fits_the_schema_of_kubernetes(helm, tmp_path):
    """kubernetes-validate, strictly: no unknown field, no wrong type."""
    files = everything_there_is(helm, tmp_path)
    done = tool("kubernetes-validate==1.37.0", "--strict", "-k", "1.34", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    unknown = {
        line.split("kind ")[1].split()[0] for line in done.stderr.splitlines() if "find schema" in line
    }
    assert unknown <= {"ServiceMonitor", "HTTPRoute"}, "no schema of Kubernetes' own"


def test_policies_hold(helm, tmp_path):
    """checkov finds nothing but what is accepted here with its reason, and what is accepted is still found."""
    files = everything_there_is(helm, tmp_path)
    command = (
        "checkov==3.3.30",
        "--skip-download",
        "--quiet",
        "--compact",
        "--framework",
        "kubernetes",
        "-o",
        "json",
        "-f",
    )
    done = tool(*command, *files)
    failed = json.loads(done.stdout)["results"]["failed_checks"]
    found: dict[str, set[str]] = {}
    for check in failed:
        found.setdefault(check["check_id"], set()).add(check["resource"])
    of_test = {resource for resources in found.values() for resource in resources if "round-trip" in resource}
    others = {check for check, resources in found.items() if resources - of_test}
    assert others == set(ACCEPTED)
    assert set(found) == {*ACCEPTED, *ACCEPTED_OF_TEST}


def test_helm_finds_nothing_odd(helm):
    done = subprocess.run(
        [helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout
