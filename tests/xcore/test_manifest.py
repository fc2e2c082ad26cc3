"""The Plugin resource: what may be written in it, what it means, and what an author is told when it is wrong."""

import copy
import json
import re

import pytest
from hypothesis import example, given, strategies as st

from xcore import fields
from xcore.errors import InvalidManifest
from xcore.manifest import API_VERSION, from_dict, json_schema, not_yet, parse

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


def told(data):
    """What the author of `data` is told: the message for each field."""
    with pytest.raises(InvalidManifest) as caught:
        from_dict(data)
    return {problem.field: problem.message for problem in caught.value.problems}


def refused(**spec):
    return told(document(**spec))


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


def test_an_error_names_the_file_the_line_the_field_and_what_is_allowed():
    text = (
        HELLO
        + b"  resources:\n    cpu: 1\n    memory: 5\n  restart:\n    policy: Sometimes\n  replicas: '1'\n"
    )
    with pytest.raises(InvalidManifest) as caught:
        parse(text, name="plugin.yaml")
    assert str(caught.value).split("; ") == [
        "plugin.yaml is not a valid Plugin",
        "spec.resources.memory: line 9: must be a Kubernetes quantity of whole bytes from 16Mi to 64Gi, got 5",
        "spec.restart.policy: line 11: must be 'Always', 'OnFailure' or 'Never', got \"Sometimes\"",
        'spec.replicas: line 12: must be a whole number, got "1"',
    ]


def test_a_missing_field_is_told_with_the_line_of_what_it_is_missing_from():
    with pytest.raises(InvalidManifest) as caught:
        parse(HELLO + b"  actions:\n    - {access: Key}\n", name="plugin.yaml")
    assert list(map(str, caught.value.problems)) == ["spec.actions[0].name: line 8: is required"]


def test_yaml_that_cannot_be_read_is_an_invalid_manifest():
    with pytest.raises(InvalidManifest, match="line 7: must not use anchors"):
        parse(HELLO + b"  env: *all\n", name="plugin.yaml")


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"runtimeclass": "gvisor"}, "spec.runtimeclass", "did you mean runtimeClass?"),
        ({"restart": {"max_restarts": 1}}, "spec.restart.max_restarts", "did you mean maxRestarts?"),
        ({"actions": [{"name": "a", "timeout": {}}]}, "spec.actions[0].timeout", "did you mean timeouts?"),
        ({"privileged": True}, "spec.privileged", "there are actions, calls, config"),
        ({"resources": {"gpu": 1}}, "spec.resources.gpu", "did you mean cpu?"),
    ],
)
def test_an_unknown_field_is_refused_with_the_name_that_was_meant(spec, field, says):
    assert says in refused(**spec)[field]


BAD = [
    ({"version": 1.0}, "spec.version", "must be a string, got 1.0; put it in quotes"),
    ({"version": None}, "spec.version", "must be a string, got null"),
    ({"version": "a b"}, "spec.version", "must be a version"),
    ({"description": "x" * 1025}, "spec.description", "must have at most 1024 characters"),
    ({"description": "\0"}, "spec.description", "must be text without NUL characters"),
    ({"description": "\ud800"}, "spec.description", "must be text without halves of surrogate pairs"),
    ({"description": object()}, "spec.description", "must be a string"),
    ({"isolation": "None"}, "spec.isolation", "must be 'Sandboxed' or 'Trusted', got \"None\""),
    ({"entrypoint": "main"}, "spec.entrypoint", "must be module:Attribute"),
    ({"entrypoint": "os;id:x"}, "spec.entrypoint", "must be module:Attribute"),
    ({"entrypoint": "main:Hello\n"}, "spec.entrypoint", "must be module:Attribute"),
    ({"entrypoint": "../main:Hello"}, "spec.entrypoint", "must be module:Attribute"),
    ({"entrypoint": None}, "spec.entrypoint", "is required, such as main:Hello"),
    ({"entrypoint": None, "source": {"bundle": "sha256:" + "0" * 64}}, "spec.entrypoint", "is required"),
    ({"source": {"image": "registry/app:1"}}, "spec.entrypoint", "must be absent when source.image is given"),
    ({"source": {}}, "spec.source", "must have exactly one of folder, image, bundle and configMap"),
    ({"source": {"folder": ".", "image": "a"}}, "spec.source", "must have exactly one of"),
    ({"source": {"folder": ".", "port": 80}}, "spec.source.port", "must be absent unless image is given"),
    ({"source": {"folder": "a/../.."}}, "spec.source.folder", "must be a folder inside the plugin's own"),
    ({"source": {"folder": "/etc"}}, "spec.source.folder", "must be a folder inside the plugin's own"),
    ({"source": {"folder": "a\\b"}}, "spec.source.folder", "must be a folder inside the plugin's own"),
    ({"source": {"folder": ""}}, "spec.source.folder", "must have at least 1 characters"),
    ({"source": {"bundle": "sha256:xyz"}}, "spec.source.bundle", "must be sha256: and 64 hexadecimal digits"),
    ({"source": {"image": "a b"}}, "spec.source.image", "must be an image"),
    ({"config": [1]}, "spec.config", "must be a mapping"),
    ({"config": {"a": "x" * 33_000}}, "spec.config", "must be at most 32 KiB as JSON"),
    ({"config": {"a": {1: 2}}}, "spec.config", "must have strings as keys"),
    ({"config": {"a": 2**63}}, "spec.config", "must hold only JSON"),
    ({"config": {"a": float("nan")}}, "spec.config", "must hold only JSON"),
    ({"config": {"a": "\0"}}, "spec.config", "must hold only JSON"),
    ({"config": {"\ud800": 1}}, "spec.config", "must hold only JSON"),
    ({"config": {"a": object()}}, "spec.config", "must hold only JSON"),
    ({"dependencies": ["-r other.txt"]}, "spec.dependencies[0]", "must be a PEP 508 requirement"),
    ({"env": [{"name": "A"}, {"name": "A"}]}, "spec.env[1].name", "must be unique, got A twice"),
    ({"env": [{"name": "A", "value": 5}]}, "spec.env[0].value", "must be a string, got 5; put it in quotes"),
    ({"env": [{"name": "1A"}]}, "spec.env[0].name", "must be letters, digits and underscores"),
    ({"env": {"A": "b"}}, "spec.env", "must be a list"),
    ({"env": None}, "spec.env", "must be a list"),
    ({"env": [{"name": f"A{n}"} for n in range(65)]}, "spec.env", "must have at most 64 items"),
    ({"calls": ["a", "a"]}, "spec.calls[1]", "must be unique, got a twice"),
    ({"replicas": True}, "spec.replicas", "must be a whole number, got true"),
    ({"replicas": 1.0}, "spec.replicas", "must be a whole number, got 1.0"),
    ({"replicas": -1}, "spec.replicas", "must be from 0 to 100, got -1"),
    ({"replicas": 10**5000}, "spec.replicas", "must be from 0 to 100"),
    ({"resources": {"memory": "64.5Gi"}}, "spec.resources.memory", "from 16Mi to 64Gi"),
    ({"resources": {"memory": 10**5000}}, "spec.resources.memory", "from 16Mi to 64Gi"),
    ({"resources": {"memory": None}}, "spec.resources.memory", "from 16Mi to 64Gi"),
    ({"resources": {"memory": "16000k"}}, "spec.resources.memory", "from 16Mi to 64Gi"),
    ({"resources": {"cpu": "9m"}}, "spec.resources.cpu", "whole millicores from 10m to 64"),
    ({"resources": {"cpu": 64.001}}, "spec.resources.cpu", "whole millicores from 10m to 64"),
    ({"resources": {"cpu": "0.0105"}}, "spec.resources.cpu", "whole millicores from 10m to 64"),
    ({"resources": {"pids": "4097"}}, "spec.resources.pids", "a whole number from 8 to 4096"),
    ({"resources": {"pids": True}}, "spec.resources.pids", "a whole number from 8 to 4096, got true"),
    ({"resources": {"tmp": "2Gi"}}, "spec.resources.tmp", "from 1Mi to 1Gi"),
    (
        {"actions": [{"name": "a"}, {"name": "b"}, {"name": "a"}]},
        "spec.actions[2].name",
        "must be unique, got a twice",
    ),
    ({"actions": [{"name": "a", "methods": ["TRACE"]}]}, "spec.actions[0].methods[0]", "must be 'GET'"),
    ({"actions": [{"name": "a", "methods": ["GET", "GET"]}]}, "spec.actions[0].methods[1]", "must be unique"),
    (
        {"actions": [{"name": "a", "maxBodyBytes": 2**31}]},
        "spec.actions[0].maxBodyBytes",
        "from 0 to 1073741824",
    ),
    (
        {"traffic": {"queue": {"timeoutSeconds": "10"}}},
        "spec.traffic.queue.timeoutSeconds",
        "must be a number",
    ),
    ({"probes": {"startup": {"path": "live"}}}, "spec.probes.startup.path", "a path that begins with /"),
    (
        {"probes": {"liveness": {"path": "/a b\r\nX: y"}}},
        "spec.probes.liveness.path",
        "a path that begins with /",
    ),
    (
        {"probes": {"startup": {"periodSeconds": 0}}},
        "spec.probes.startup.periodSeconds",
        "from 0.1 to 3600, got 0",
    ),
    ({"terminationGracePeriodSeconds": float("inf")}, "spec.terminationGracePeriodSeconds", "from 0 to 600"),
    ({"terminationGracePeriodSeconds": float("nan")}, "spec.terminationGracePeriodSeconds", "from 0 to 600"),
    (
        {"network": {"allow": [{"ports": [1]}]}},
        "spec.network.allow[0]",
        "must have exactly one of host and cidr",
    ),
    (
        {"network": {"allow": [{"cidr": "10.0.0.1/8", "ports": [1]}]}},
        "spec.network.allow[0].cidr",
        "must be a network",
    ),
    (
        {"network": {"allow": [{"host": "a", "ports": []}]}},
        "spec.network.allow[0].ports",
        "must have at least 1 items",
    ),
    (
        {"storage": [{"name": "a", "mountPath": "/proc", "size": "1Gi"}]},
        "spec.storage[0].mountPath",
        "of its own",
    ),
    (
        {"storage": [{"name": "a", "mountPath": "/d/../x", "size": "1Gi"}]},
        "spec.storage[0].mountPath",
        "of its own",
    ),
    (
        {"storage": [{"name": "a", "mountPath": "/", "size": "1Gi"}]},
        "spec.storage[0].mountPath",
        "an absolute path",
    ),
    ({"schedules": [{"action": "a"}]}, "spec.schedules[0]", "must have exactly one of cron and everySeconds"),
    (
        {"schedules": [{"action": "a", "cron": "* * * *"}]},
        "spec.schedules[0].cron",
        "must be five cron fields",
    ),
    (
        {"schedules": [{"action": "a", "everySeconds": 1, "timeZone": "../etc"}]},
        "spec.schedules[0].timeZone",
        "IANA",
    ),
]


@pytest.mark.parametrize(("spec", "field", "says"), BAD)
def test_a_value_out_of_bounds_is_refused_with_what_is_allowed(spec, field, says):
    problems = refused(**spec)
    assert [field] == list(problems)
    assert says in problems[field]


@pytest.mark.parametrize("name", ["PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "PLUGIN_NAME", "PLUGIN_"])
def test_the_environment_of_the_sandbox_itself_cannot_be_set(name):
    assert (
        "must not be PATH, HOME or begin with LD_ or PLUGIN_"
        in refused(env=[{"name": name}])["spec.env[0].name"]
    )


@pytest.mark.parametrize("key", ["xcore.dev/plugin", "dev.xcore.owner", "app.kubernetes.io/managed-by"])
def test_the_labels_of_the_controller_cannot_be_set(key):
    data = document()
    data["metadata"]["labels"] = {"team": "a", key: "mine"}
    assert list(told(data).values()) == ["must not be one of the labels the controller sets itself"]


def test_labels_and_annotations_are_those_of_kubernetes():
    data = document()
    data["metadata"] |= {"labels": {"example.com/team": "a.b"}, "annotations": {"note": "any text\n"}}
    assert from_dict(data).to_dict() == data
    data["metadata"] |= {
        "labels": {"a b": "x", "a": "-"},
        "annotations": {"a": "x" * 200_000, "b": "x" * 70_000},
    }
    assert list(told(data)) == ["metadata.labels['a b']", "metadata.labels.a", "metadata.annotations"]


@pytest.mark.parametrize("data", [None, [], "text", 5, {1: 2}, {}, {"apiVersion": "v1", "kind": "Pod"}])
def test_what_is_not_a_plugin_at_all_is_refused(data):
    assert told(data)


def test_nothing_deep_wide_or_circular_gets_far():
    deep, wide, circular = [], [1], {}
    for _ in range(10_000):
        deep = [deep]
    for _ in range(10):
        wide = [wide] * 50
    circular["a"] = circular
    for bomb in (deep, wide, circular):
        assert "must be at most 12 levels deep" in refused(config={"a": bomb})["spec.config"]
        assert refused(description=bomb) == {"spec.description": "must be a string"}
    assert told(deep) == {"": "must be a mapping"}


def test_twenty_problems_are_told_and_the_others_counted():
    problems = refused(**{f"field{n}": n for n in range(30)})
    assert len(problems) == 21
    assert problems[""] == "and 10 more"


def test_long_or_private_text_is_not_repeated():
    long = refused(**{"x" * 100_000: 1, "version": "y " * 30, "env": [{"name": "A", "value": "hunter2\0"}]})
    assert max(len(field) + len(message) for field, message in long.items()) < 500
    assert "hunter2" not in str(long)
    assert "…" in refused(version="y " * 31)["spec.version"]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"source": {"image": "app@sha256:" + "0" * 64, "port": 80}, "entrypoint": None}, ["source.image"]),
        ({"source": {"bundle": "sha256:" + "0" * 64}}, ["source.bundle"]),
        ({"source": {"configMap": "code"}}, ["source.configMap"]),
        ({"dependencies": ["pillow>=11"]}, ["dependencies"]),
        ({"secrets": [{"name": "token"}]}, ["secrets"]),
        ({"pluginClassName": "small"}, ["pluginClassName"]),
        ({"calls": ["other"]}, ["calls"]),
        ({"replicas": 2}, ["replicas"]),
        ({"scaling": {"idleTimeoutSeconds": 60}}, ["scaling"]),
        ({"storage": [{"name": "a", "mountPath": "/data", "size": "1Gi"}]}, ["storage"]),
        ({"schedules": [{"action": "a", "everySeconds": 60}]}, ["schedules"]),
        ({"network": {"egress": "PublicInternet"}}, ["network.egress"]),
        (
            {"network": {"egress": "AllowList", "allow": [{"cidr": "203.0.113.0/24", "ports": [443]}]}},
            ["network.egress", "network.allow"],
        ),
        ({"traffic": {"retry": {"maxAttempts": 2}}}, ["traffic.retry"]),
        ({"traffic": {"circuitBreaker": {"openSeconds": 1}}}, ["traffic.circuitBreaker"]),
        ({"update": {"onFailure": "Hold"}}, ["update.onFailure"]),
        (
            {"probes": {"startup": {"path": "/x"}, "liveness": {"path": "/y"}}},
            ["probes.startup.path", "probes.liveness.path"],
        ),
        (
            {"source": {"image": "app"}, "entrypoint": None, "probes": {"readiness": {"path": "/x"}}},
            ["source.image"],
        ),
        ({"actions": [{"name": "a"}, {"name": "b", "access": "Scoped"}]}, ["actions[1].access"]),
        ({"actions": [{"name": "a", "access": "Public", "scopes": ["x"]}]}, ["actions[0].scopes"]),
    ],
)
def test_what_this_version_does_not_honour_is_named_and_never_ignored(spec, fields):
    problems = not_yet(accepted(**spec))
    assert [f"spec.{field}" for field in fields] == [problem.field for problem in problems]
    assert all(problem.message.startswith("must be ") for problem in problems)


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
        {"secrets": [{"name": "a"}]},
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


def test_a_manifest_never_changes_once_read():
    manifest = accepted()
    with pytest.raises(ValueError, match="frozen"):
        manifest.spec.replicas = 2


def nodes(schema):
    """Every schema within `schema`, with the name it is found under."""
    for parent in (schema, *schema["$defs"].values()):
        for name, node in parent.get("properties", {}).items():
            assert node.get("description"), f"{name} has no description"
            yield name, node
            yield from (
                (name, inner)
                for inner in (node.get("items"), *node.get("patternProperties", {}).values())
                if inner
            )


def test_the_json_schema_describes_and_bounds_every_field_and_never_says_null():
    schema = json_schema()
    assert "null" not in re.findall(r"\w+", json.dumps(schema))
    for name, node in nodes(schema):
        match node.get("type"):
            case "string":
                assert "maxLength" in node or "enum" in node or "const" in node, name
                assert node.get("pattern", fields.TEXT) in fields.SHAPES, name
            case "integer" | "number":
                assert {"minimum", "maximum"} <= set(node), name
            case "array":
                assert "maxItems" in node, name
            case "object":
                assert "maxProperties" in node or "x-kubernetes-preserve-unknown-fields" in node, name
            case kind:
                assert kind is None, name


def test_the_json_schema_is_a_copy_of_its_own():
    schema = json_schema()
    pristine = copy.deepcopy(schema)
    schema["$defs"].clear()
    assert json_schema() == pristine


LABELS = st.from_regex(fields.LABEL, fullmatch=True)
QUANTITIES = st.sampled_from(["16Mi", "128Mi", "1Gi", "0.5Gi", 2**24, "64Gi"])
ACTIONS = st.fixed_dictionaries(
    {"name": st.from_regex(fields.ACTION, fullmatch=True)},
    optional={
        "methods": st.lists(st.sampled_from(["GET", "POST", "DELETE"]), unique=True),
        "access": st.sampled_from(["Public", "Key", "Scoped"]),
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


@given(st.text(min_size=1))
@example("a" * 64)
@example("hello\n")
@example("-a")
@example("Hello")
@example("héllo")
def test_a_name_that_is_no_dns_label_is_refused(name):
    if re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        assert from_dict(document(name)).metadata.name == name
    else:
        assert list(told(document(name))) == ["metadata.name"]


@given(st.text())
def test_an_action_name_is_an_identifier_with_hyphens_or_is_refused(name):
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", name):
        assert accepted(actions=[{"name": name}]).spec.actions[0].name == name
    else:
        assert list(refused(actions=[{"name": name}])) == ["spec.actions[0].name"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(json_schema()["$defs"]["Spec"]["properties"])


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=5))
def test_whatever_stands_in_a_field_it_is_read_or_refused_with_a_field_of_the_spec(spec):
    try:
        manifest = accepted(**spec)
    except InvalidManifest as error:
        places = [problem.field for problem in error.problems]
    else:
        places = ["spec"] if from_dict(manifest.to_dict()) == manifest else []
    assert places
    assert all(place.startswith("spec") for place in places)


@given(st.text(), st.text())
def test_arbitrary_text_is_a_manifest_or_an_invalid_manifest(before, after):
    text = before.encode(errors="replace") + HELLO + after.encode(errors="replace")
    try:
        name = parse(text, name="x").metadata.name
    except InvalidManifest as error:
        name = "hello" if error.problems else "nothing told"
    assert name == "hello"
