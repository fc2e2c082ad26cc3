"""What may be written in a Plugin resource, and what is refused."""

import re

import pytest
from hypothesis import example, given, strategies as st

from xcore.errors import InvalidManifest
from xcore.manifest import API_VERSION, from_dict, json_schema


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
    (
        {"source": {"folder": ".", "socket": "/run/plugin/a"}},
        "spec.source.socket",
        "must be absent unless image is given",
    ),
    (
        {"source": {"image": "a", "port": 80, "socket": "/run/plugin/a"}, "entrypoint": None},
        "spec.source.socket",
        "must be absent where port is given",
    ),
    (
        {"source": {"image": "a", "socket": "/tmp/a"}},
        "spec.source.socket",
        "must be a file directly in /run/plugin",
    ),
    (
        {"source": {"image": "a", "socket": "/run/plugin/.."}},
        "spec.source.socket",
        "must be a file directly in",
    ),
    ({"source": {"image": "a", "port": 0}}, "spec.source.port", "must be from 1 to 65535"),
    (
        {"source": {"image": "a"}, "entrypoint": None, "dependencies": ["pillow"]},
        "spec.dependencies",
        "must be absent when source.image is given",
    ),
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
        {"schedules": [{"action": "a", "everySeconds": 60, "timeZone": "../etc"}]},
        "spec.schedules[0].timeZone",
        "IANA",
    ),
    (
        {"schedules": [{"action": "a", "cron": "0 4 * * *", "timeZone": "Europe/Atlantis"}]},
        "spec.schedules[0].timeZone",
        "must be an IANA time zone",
    ),
    (
        {"schedules": [{"action": "a", "cron": "0 4 30 2 *"}]},
        "spec.schedules[0].cron",
        "must be five cron fields",
    ),
    ({"schedules": [{"action": "a", "everySeconds": 9}]}, "spec.schedules[0].everySeconds", "10"),
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
