"""What is made in a cluster for a plugin, and what no manifest can change about it."""

import base64
import json

import pytest

from tests.support import manifest
from xcore.errors import InvalidBundle
from xcore.manifest import from_dict
from xcore.runtimes.kubernetes.code import MAX_CODE
from xcore.runtimes.kubernetes.found import calls_of
from xcore.runtimes.kubernetes.limits import problems
from xcore.runtimes.kubernetes.objects import Surroundings, Wish, wanted
from xcore.workload import Origin, Workload

SURROUNDINGS = Surroundings("image:1", "plugins", "system", {"app": "xcore"}, calls="calls.system:8001")

CALLS = "10.96.0.9:8001"


def made(code=None, *, replicas=1, image="", name="hello", origin=None, **spec):
    spec = (
        {"source": {"configMap": "code"}, **spec}
        if not image
        else {"entrypoint": None, "source": {"image": image}, **spec}
    )
    spec = {key: value for key, value in spec.items() if value is not None}
    document = manifest(name, **spec) if not image else of_image(name, spec)
    workload = Workload(document, "r" * 64, 1, code, image=image, origin=origin)
    return {item["kind"]: item for item in wanted(Wish(workload, replicas, calls=CALLS), SURROUNDINGS)}


def of_image(name, spec):
    spec = {"version": "1", **spec}
    return from_dict(
        {"apiVersion": "xcore.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": name}, "spec": spec}
    )


def test_the_policy_comes_first_and_lets_only_the_controller_in():
    """Nothing goes out; what comes in comes from the controller's pods, to the one port."""
    objects = made()
    assert next(iter(objects)) == "NetworkPolicy"
    policy = objects["NetworkPolicy"]["spec"]
    assert (policy["policyTypes"], policy["egress"]) == (["Ingress", "Egress"], [])
    ((rule,),) = [policy["ingress"]]
    assert rule["ports"] == [{"port": 8080, "protocol": "TCP"}]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"] == {"app": "xcore"}
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "system"}


def test_a_pod_has_no_rights_no_token_no_names_and_bounds_on_everything():
    pod = made()["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert (pod["dnsPolicy"], pod["dnsConfig"]) == ("None", {"nameservers": ["127.0.0.1"]})
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] >= 100_000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    assert limits == {"cpu": "500m", "memory": str(128 * 2**20), "ephemeral-storage": "64Mi"}
    assert requests == {**limits, "cpu": "50m"}
    assert not any(volume.keys() & {"hostPath", "nfs", "csi"} for volume in pod["volumes"])


def test_each_plugin_has_a_uid_of_its_own():
    """The same wherever it is asked for; another for the same name in another namespace."""

    def uid(name, namespace):
        pod = made(name=name, origin=Origin(namespace, "u"))["Deployment"]["spec"]["template"]["spec"]
        return pod["securityContext"]["runAsUser"]

    assert uid("a", "x") == uid("a", "x")
    assert len({uid(name, namespace) for name in "abcdef" for namespace in "xy"}) == 12


def test_code_is_an_immutable_config_map_that_is_named_by_its_content(tmp_path):
    """Its files lie where they lay, whatever their names."""
    code = tmp_path / ("d" * 64)
    (code / "package").mkdir(parents=True)
    (code / "main.py").write_bytes(b"print()")
    (code / "package" / "data.bin").write_bytes(b"\xff\x00")
    objects = made(code)
    code_map, pod = objects["ConfigMap"], objects["Deployment"]["spec"]["template"]["spec"]
    assert (code_map["immutable"], code_map["metadata"]["name"]) == (True, "xcore-hello-dddddddddddd")
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "code"]
    assert volume["configMap"]["name"] == code_map["metadata"]["name"]
    placed = {
        item["path"]: base64.b64decode(code_map["binaryData"][item["key"]])
        for item in volume["configMap"]["items"]
    }
    assert placed == {"main.py": b"print()", "package/data.bin": b"\xff\x00"}


def test_code_that_does_not_fit_is_refused_with_the_way_out(tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_bytes(b"#" * (MAX_CODE + 1))
    with pytest.raises(InvalidBundle, match="xcore pack --image"):
        made(code)


def test_what_is_made_belongs_to_the_resource_and_is_deleted_with_it():
    for item in made(origin=Origin("space", "uid-1"), replicas=2).values():
        (owner,) = item["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
            "Plugin",
            "hello",
            "uid-1",
            True,
        )
        assert item["metadata"]["namespace"] == "space"
        assert item["metadata"]["labels"] == {
            "app.kubernetes.io/managed-by": "xcore",
            "xcore.dev/plugin": "hello",
        }


def test_a_budget_guards_several_instances_and_is_not_made_for_one():
    assert "PodDisruptionBudget" not in made()
    assert made(replicas=3)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_secrets_are_files_by_name_and_never_variables():
    secrets = [{"name": "mail"}, {"name": "db", "key": "password"}, {"name": "db", "key": "user"}]
    pod = made(secrets=secrets)["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume.get("secret") for volume in pod["volumes"]}
    assert volumes[mounts["/run/secrets/mail"]] == {"secretName": "mail", "defaultMode": 0o440}
    items = volumes[mounts["/run/secrets/db"]]["items"]
    assert [(item["key"], item["path"]) for item in items] == [("password", "password"), ("user", "user")]
    assert not any("valueFrom" in variable for variable in container["env"])


def test_an_image_is_asked_where_it_says_and_else_by_a_connection():
    pod = made(image="team/app:1", probes={"readiness": {"path": "/health"}})["Deployment"]["spec"][
        "template"
    ]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "team/app:1"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert container["livenessProbe"]["tcpSocket"] == {"port": "http"}
    assert not [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/plugin"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"source": {"folder": "."}}, "source.folder"),
        ({"dependencies": ["pillow>=11"]}, "dependencies"),
        ({"resources": {"pids": "128"}}, "resources.pids"),
        ({"restart": {"policy": "Never"}}, "restart.policy"),
        ({"storage": [{"name": "a", "mountPath": "/data", "size": "1Mi"}], "replicas": 2}, "replicas"),
        ({"calls": ["stock"]}, "calls"),
    ],
)
def test_what_a_cluster_cannot_honour_is_named(spec, field):
    told = manifest(**{"source": {"configMap": "code"}, **spec})
    assert [p.field for p in problems(told, calls=False)] == [f"spec.{field}"]


def test_calls_are_honoured_where_the_controllers_take_them():
    assert problems(manifest(source={"configMap": "code"}, calls=["stock"]), calls=True) == []


def test_who_calls_is_let_out_to_the_controllers_port_for_it_and_gets_a_token_for_nothing_else():
    """Told where by a number, for it has no resolver; without `calls` there is no trace of any of it."""
    objects, quiet = made(calls=["stock"]), made()
    ((rule,),) = [objects["NetworkPolicy"]["spec"]["egress"]]
    assert rule["ports"] == [{"port": 8001, "protocol": "TCP"}]
    assert rule["to"] == objects["NetworkPolicy"]["spec"]["ingress"][0]["from"]
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "calls"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/run/calls", True)
    (volume,) = [volume["projected"] for volume in pod["volumes"] if volume["name"] == "calls"]
    token = {"audience": "calls.xcore.dev", "expirationSeconds": 3600, "path": "token"}
    assert volume == {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440}
    assert pod["automountServiceAccountToken"] is False
    told = {item["name"]: item["value"] for item in container["env"]}
    assert (told["PLUGIN_CALLS"], told["PLUGIN_CALLS_ADDRESS"]) == ("/run/calls", CALLS)
    assert calls_of(objects["Deployment"]) == CALLS
    assert "calls" not in json.dumps(quiet).lower()
    assert calls_of(quiet["Deployment"]) == ""


def test_storage_is_a_claim_that_outlives_the_plugin_unless_it_is_to_be_deleted():
    """One pod at a time writes to it."""
    storage = [
        {"name": "kept", "mountPath": "/data", "size": "1Gi"},
        {"name": "x" * 63, "mountPath": "/cache", "size": "16Mi", "retention": "Delete"},
    ]
    spec = {"source": {"configMap": "code"}, "storage": storage}
    workload = Workload(manifest(**spec), "r" * 64, 1, None, origin=Origin("space", "uid-1"))
    objects = wanted(Wish(workload, 1), SURROUNDINGS)
    claims = {item["metadata"]["name"]: item for item in objects if item["kind"] == "PersistentVolumeClaim"}
    assert set(claims) == {"xcore-hello-kept", f"xcore-hello-{'x' * 63}"}
    assert "ownerReferences" not in claims["xcore-hello-kept"]["metadata"]
    assert "ownerReferences" in claims[f"xcore-hello-{'x' * 63}"]["metadata"]
    assert claims["xcore-hello-kept"]["spec"]["resources"]["requests"]["storage"] == str(2**30)
    (deployment,) = [item for item in objects if item["kind"] == "Deployment"]
    assert deployment["spec"]["strategy"]["type"] == "Recreate"
    pod = deployment["spec"]["template"]["spec"]
    volumes = {
        v["name"]: v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    }
    mounts = {m["mountPath"]: volumes.get(m["name"]) for m in pod["containers"][0]["volumeMounts"]}
    assert mounts["/data"] == "xcore-hello-kept"
    assert mounts["/cache"] == f"xcore-hello-{'x' * 63}"
    assert all(len(name) <= 63 for name in volumes)
