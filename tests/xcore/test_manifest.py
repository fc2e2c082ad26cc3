"""The Plugin resource: how it is read and written back, what rolls it, what this version does not honour yet."""

import json

import pytest
from hypothesis import given, strategies as st

from xcore import fields
from xcore.errors import InvalidManifest
from xcore.manifest import API_VERSION, beyond_one_machine, from_dict, not_yet, parse

HELLO = b"""\
apiVersion: xcore.dev/v1alpha1
kind: Plugin
metadata: {name: hello}
spec:
  version: 1.0.0
  entrypoint: main:Hello
"""


def document(name="hello", **spec):
    return {
        "apiVersion": API_VERSION,
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": {"entrypoint": "main:Hello", **spec},
    }


def accepted(**spec):
    return from_dict(document(**spec))


def test_the_smallest_manifest_has_every_default_of_the_contract():
    assert parse(HELLO, name="plugin.yaml").to_dict(exclude_unset=False) == {
        "apiVersion": "xcore.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": "hello", "labels": {}, "annotations": {}},
        "spec": {
            "version": "1.0.0",
            "description": "",
            "isolation": "Sandboxed",
            "source": {"folder": "."},
            "entrypoint": "main:Hello",
            "config": {},
            "dependencies": [],
            "env": [],
            "secrets": [],
            "calls": [],
            "operatingMode": "Running",
            "replicas": 1,
            "resources": {"cpu": "500m", "memory": "128Mi", "pids": "64", "tmp": "16Mi"},
            "actions": [],
            "traffic": {
                "maxConcurrentRequests": 64,
                "queue": {"maxLength": 64, "timeoutSeconds": 10},
                "retry": {"maxAttempts": 1},
                "circuitBreaker": {"consecutiveFailures": 5, "openSeconds": 30},
            },
            "probes": {
                "startup": {
                    "path": "/startup",
                    "periodSeconds": 1,
                    "timeoutSeconds": 1,
                    "failureThreshold": 60,
                },
                "readiness": {
                    "path": "/ready",
                    "periodSeconds": 5,
                    "timeoutSeconds": 1,
                    "failureThreshold": 2,
                },
                "liveness": {
                    "path": "/live",
                    "periodSeconds": 10,
                    "timeoutSeconds": 1,
                    "failureThreshold": 3,
                },
            },
            "restart": {"policy": "Always", "maxRestarts": 10, "windowSeconds": 1800, "onExhausted": "Hold"},
            "network": {"egress": "Deny", "allow": []},
            "storage": [],
            "scaling": {"warmReplicas": 0},
            "update": {"strategy": "Rolling", "onFailure": "Rollback", "progressDeadlineSeconds": 120},
            "terminationGracePeriodSeconds": 10,
            "schedules": [],
        },
    }


def test_what_the_author_set_comes_back_as_it_was_written():
    data = document(
        config={"a": None, "b": [1, {"c": None}]}, resources={"cpu": "1"}, terminationGracePeriodSeconds=0.5
    )
    assert from_dict(data).to_dict() == data


def test_limits_are_read_as_cores_bytes_and_numbers():
    limits = accepted(resources={"cpu": 0.5, "memory": "1Gi", "pids": 100, "tmp": "32Mi"}).spec.resources
    assert (limits.cpu_cores, limits.memory_bytes, limits.pids_limit, limits.tmp_bytes) == (
        0.5,
        2**30,
        100,
        2**25,
    )


def test_an_action_that_is_not_declared_has_the_defaults_whatever_its_name():
    manifest = accepted(actions=[{"name": "slow", "timeouts": {"firstByteSeconds": 300}, "access": "Public"}])
    slow, other = manifest.action("slow"), manifest.action("favicon.ico")
    assert (slow.timeouts.first_byte_seconds, slow.timeouts.idle_seconds, slow.access) == (300, 60, "Public")
    assert (other.name, other.access, other.max_body_bytes) == ("favicon.ico", "Key", 10 * 2**20)
    assert (other.timeouts.first_byte_seconds, other.timeouts.max_duration_seconds) == (30, 300)


def test_yaml_that_cannot_be_read_is_an_invalid_manifest():
    with pytest.raises(InvalidManifest, match="line 7: must not use anchors"):
        parse(HELLO + b"  env: *all\n", name="plugin.yaml")


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"scaling": {"idleTimeoutSeconds": 60}}, ["scaling"]),
        ({"network": {"egress": "PublicInternet"}}, ["network.egress"]),
        (
            {"network": {"egress": "AllowList", "allow": [{"cidr": "203.0.113.0/24", "ports": [443]}]}},
            ["network.egress", "network.allow"],
        ),
        ({"traffic": {"retry": {"maxAttempts": 2}}}, ["traffic.retry"]),
        ({"traffic": {"circuitBreaker": {"openSeconds": 1}}}, ["traffic.circuitBreaker"]),
        (
            {"probes": {"startup": {"path": "/x"}, "liveness": {"path": "/y"}}},
            ["probes.startup.path", "probes.liveness.path"],
        ),
    ],
)
def test_what_this_version_does_not_honour_is_named_and_never_ignored(spec, fields):
    problems = not_yet(accepted(**spec))
    assert [f"spec.{field}" for field in fields] == [problem.field for problem in problems]
    assert all(problem.message.startswith("must be ") for problem in problems)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"source": {"configMap": "code"}}, "source.configMap"),
        ({"pluginClassName": "small"}, "pluginClassName"),
        ({"replicas": 2}, "replicas"),
        ({"storage": [{"name": "a", "mountPath": "/data", "size": "1Gi"}]}, "storage"),
        ({"update": {"onFailure": "Hold"}}, "update.onFailure"),
    ],
)
def test_what_takes_a_cluster_is_refused_by_one_machine(spec, field):
    manifest = accepted(**spec)
    assert not_yet(manifest) == []
    assert [problem.field for problem in beyond_one_machine(manifest)] == [f"spec.{field}"]


def test_what_this_version_honours_is_not_complained_about():
    manifest = accepted(
        isolation="Trusted",
        runtimeClass="gvisor",
        source={"folder": "src"},
        traffic={
            "maxConcurrentRequests": 1,
            "queue": {"maxLength": 0, "timeoutSeconds": 1},
            "retry": {"maxAttempts": 1},
        },
        actions=[{"name": "a", "access": "Public", "methods": ["GET"]}],
        update={"strategy": "Recreate", "progressDeadlineSeconds": 5},
        restart={"policy": "Never", "onExhausted": "KeepTrying"},
        probes={"startup": {"periodSeconds": 0.5}},
        env=[{"name": "A"}],
        network={"egress": "Deny"},
        replicas=1,
    )
    assert not_yet(manifest) == []


def test_the_same_wish_written_in_two_ways_rolls_nothing():
    plain = accepted()
    spelled = accepted(
        source={"folder": "."},
        env=[],
        resources={"cpu": 0.5, "memory": "131072Ki"},
        network={"egress": "Deny"},
    )
    assert plain.rolling() == spelled.rolling()


@pytest.mark.parametrize(
    "spec",
    [
        {"source": {"folder": "src"}},
        {"entrypoint": "main:Other"},
        {"env": [{"name": "A"}]},
        {"config": {"a": 1}},
        {"resources": {"memory": "256Mi"}},
        {"runtimeClass": "gvisor"},
        {"network": {"egress": "PublicInternet"}},
        {"storage": [{"name": "a", "mountPath": "/data", "size": "1Gi"}]},
        {"dependencies": ["pillow"]},
        {"isolation": "Trusted"},
    ],
)
def test_a_change_of_what_an_instance_is_made_of_rolls_it(spec):
    assert json.dumps(accepted(**spec).rolling()) != json.dumps(accepted().rolling())


def test_a_change_of_anything_else_takes_effect_in_place():
    other = accepted(
        version="2.0.0",
        description="new",
        operatingMode="Suspended",
        actions=[{"name": "a", "access": "Public"}],
        traffic={"maxConcurrentRequests": 1},
        probes={"startup": {"failureThreshold": 9}},
        restart={"maxRestarts": 0},
        update={"strategy": "Recreate"},
        terminationGracePeriodSeconds=1,
        schedules=[{"action": "a", "cron": "0 4 * * 1-5"}],
    )
    assert other.rolling() == accepted().rolling()


def test_that_it_calls_at_all_rolls_and_whom_it_calls_does_not():
    """A sandbox gets its socket when it is made; the list is looked at for each call."""
    one, two = accepted(calls=["other"]), accepted(calls=["other", "third"])
    assert one.rolling() == two.rolling()
    assert one.rolling() != accepted().rolling()


def test_a_manifest_never_changes_once_read():
    manifest = accepted()
    with pytest.raises(ValueError, match="frozen"):
        manifest.spec.replicas = 2


LABELS = st.from_regex(fields.LABEL, fullmatch=True)
QUANTITIES = st.sampled_from(["16Mi", "128Mi", "1Gi", "0.5Gi", 2**24, "64Gi"])
ACTIONS = st.fixed_dictionaries(
    {"name": st.from_regex(fields.ACTION, fullmatch=True)},
    optional={
        "methods": st.lists(st.sampled_from(["GET", "POST", "DELETE"]), unique=True),
        "access": st.sampled_from(["Public", "Key"]),
        "timeouts": st.fixed_dictionaries({}, optional={"idleSeconds": st.floats(0.1, 3600)}),
        "maxBodyBytes": st.integers(0, 2**30),
    },
)
CONFIG = st.dictionaries(
    st.text("abc_", max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text("ab\n é", max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=3,
)
SPECS = st.fixed_dictionaries(
    {"entrypoint": st.from_regex(fields.ENTRYPOINT, fullmatch=True).filter(lambda text: len(text) <= 255)},
    optional={
        "version": st.sampled_from(["1.0.0", "2.0.0-rc.1+build"]),
        "resources": st.fixed_dictionaries({}, optional={"memory": QUANTITIES, "cpu": st.integers(1, 64)}),
        "config": CONFIG,
        "actions": st.lists(ACTIONS, max_size=3, unique_by=lambda action: action["name"]),
        "env": st.lists(
            st.fixed_dictionaries({"name": st.from_regex("ENV_[A-Z0-9]{1,8}", fullmatch=True)}),
            max_size=3,
            unique_by=lambda variable: variable["name"],
        ),
        "restart": st.fixed_dictionaries({}, optional={"maxRestarts": st.integers(0, 1000)}),
        "terminationGracePeriodSeconds": st.integers(0, 600) | st.floats(0, 600),
        "calls": st.lists(LABELS, max_size=3, unique=True),
    },
)


@given(LABELS, SPECS)
def test_a_manifest_survives_the_way_through_json_and_yaml_unchanged(name, spec):
    manifest = from_dict(document(name, **spec))
    assert from_dict(json.loads(json.dumps(manifest.to_dict()))) == manifest
    assert from_dict(manifest.to_dict(exclude_unset=False)) == manifest
    assert parse(json.dumps(manifest.to_dict(), ensure_ascii=False).encode(), name="x") == manifest
    assert manifest.rolling() == from_dict(manifest.to_dict(exclude_unset=False)).rolling()


@given(st.text(), st.text())
def test_arbitrary_text_is_a_manifest_or_an_invalid_manifest(before, after):
    text = before.encode(errors="replace") + HELLO + after.encode(errors="replace")
    try:
        name = parse(text, name="x").metadata.name
    except InvalidManifest as error:
        name = "hello" if error.problems else "nothing told"
    assert name == "hello"
