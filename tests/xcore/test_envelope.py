"""The envelope of a Docker sandbox is the one that is written down, whatever a manifest says."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from hypothesis import given, strategies as st

from tests.support import manifest
from xcore.manifest import not_yet
from xcore.runtimes.envelope import Identity, container_name, create_body
from xcore.runtimes.told import plugin_spec
from xcore.workload import Workload

GOLDEN = json.loads(Path(__file__).with_name("envelope.json").read_text())
IDENTITY = Identity(
    short_id="1a2b3c4d",
    uid=100001,
    gid=100001,
    owner="owner-1",
    image="xcore/sandbox@sha256:" + "0" * 64,
    seccomp="{}",
)
CODE = Path("/var/lib/xcore/snapshots") / ("c" * 64)


def workload(**spec):
    return Workload(manifest(**spec), "r" * 64, 7, CODE)


def test_the_body_is_exactly_the_one_that_is_written_down():
    made = create_body(workload(env=[{"name": "MODE", "value": "fast"}], config={"a": 1}), IDENTITY)
    assert made == GOLDEN


def test_a_container_is_named_after_its_plugin():
    assert container_name(workload(), IDENTITY) == "xcore-hello-1a2b3c4d"


def test_a_controller_that_is_not_root_shares_a_directory_for_the_socket_and_nothing_else():
    identity = Identity(**{**_fields(IDENTITY), "socket_dir": "/run/user/1000/xcore/1a2b3c4d", "gid": 1000})
    body = create_body(workload(env=[{"name": "MODE", "value": "fast"}], config={"a": 1}), identity)
    expected = deepcopy(GOLDEN)
    expected["User"] = "100001:1000"
    expected["HostConfig"]["Mounts"][0] = {
        "Type": "bind",
        "Source": "/run/user/1000/xcore/1a2b3c4d",
        "Target": "/run/plugin",
        "ReadOnly": False,
    }
    # The directory is on the host's disk: at least no file in it grows beyond what /tmp may hold.
    expected["HostConfig"]["Ulimits"].append({"Name": "fsize", "Soft": 16 << 20, "Hard": 16 << 20})
    assert body == expected


def test_packed_dependencies_add_one_read_only_mount_and_say_where_it_is():
    plain, packed = (
        create_body(Workload(manifest(), "r" * 64, 7, CODE, site), IDENTITY)
        for site in (None, Path("/var/lib/xcore/sites") / ("d" * 64))
    )
    assert packed["Env"].pop() == "PLUGIN_SITE=/site"
    assert packed["HostConfig"]["Mounts"].pop() == {
        "Type": "bind",
        "Source": "/var/lib/xcore/sites/" + "d" * 64,
        "Target": "/site",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
    }
    assert packed == plain


def test_another_runtime_class_is_the_only_thing_that_adds_a_field():
    plain, gvisor = (create_body(workload(**spec), IDENTITY) for spec in ({}, {"runtimeClass": "runsc"}))
    assert gvisor["HostConfig"].pop("Runtime") == "runsc"
    assert gvisor == plain


def image(**source):
    spec = {"source": {"image": "team/app:1", **source}, "entrypoint": None, "config": {"a": 1}}
    return replace(
        workload(**spec, env=[{"name": "MODE", "value": "fast"}]), code=None, image="sha256:" + "1" * 64
    )


def test_an_image_differs_in_what_runs_and_in_what_it_is_told_and_in_nothing_else():
    """Its own command and directory, no code, no socket, a port; the walls around it are the same."""
    body = create_body(image(port=3000), replace(IDENTITY, image="sha256:" + "1" * 64, volumes=("/data",)))
    expected = deepcopy(GOLDEN)
    for field in ("Entrypoint", "Cmd", "WorkingDir"):
        del expected[field]
    expected["Image"] = "sha256:" + "1" * 64
    expected["Env"] = [
        "PORT=3000",
        "MODE=fast",
        "HOME=/tmp",
        'PLUGIN_SPEC={"name":"hello","version":"1.0.0","entrypoint":null,"config":{"a":1}}',
    ]
    expected["Labels"]["dev.xcore.listens"] = "3000"
    expected["HostConfig"]["Mounts"] = []
    expected["HostConfig"]["Tmpfs"]["/data"] = expected["HostConfig"]["Tmpfs"]["/tmp"]
    assert body == expected


def test_an_image_that_listens_on_a_socket_gets_the_directory_for_it():
    body = create_body(image(socket="/run/plugin/app.sock"), IDENTITY)
    assert body["HostConfig"]["Mounts"] == GOLDEN["HostConfig"]["Mounts"][:1]
    assert body["Labels"]["dev.xcore.listens"] == "/run/plugin/app.sock"
    assert "PLUGIN_SOCKET=/run/plugin/app.sock" in body["Env"]
    assert not any(item.startswith("PORT=") for item in body["Env"])


def test_a_manifest_may_name_another_port_to_an_image_by_itself():
    """PORT is a habit, no rule: where the manifest sets it, that counts."""
    body = create_body(
        workload(source={"image": "a"}, entrypoint=None, env=[{"name": "PORT", "value": "1"}]), IDENTITY
    )
    assert "PORT=1" in body["Env"]
    assert "PORT=8080" not in body["Env"]


def test_the_runner_is_told_nothing_that_may_change_without_a_new_revision():
    before = plugin_spec(workload())
    for spec in (
        {"description": "x"},
        {"traffic": {"maxConcurrentRequests": 1}},
        {"restart": {"policy": "Never"}},
    ):
        assert plugin_spec(workload(**spec)) == before
    assert plugin_spec(workload(config={"a": 1})) != before


names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: name not in {"PATH", "HOME"} and not name.startswith(("LD_", "PLUGIN_"))
)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
accepted = st.fixed_dictionaries(
    {},
    optional={
        "resources": st.fixed_dictionaries(
            {},
            optional={
                "cpu": st.sampled_from(["10m", "500m", "64"]),
                "memory": st.sampled_from(["16Mi", "128Mi", "64Gi"]),
                "pids": st.sampled_from(["8", "4096"]),
                "tmp": st.sampled_from(["1Mi", "1Gi"]),
            },
        ),
        "env": st.dictionaries(names, texts, max_size=3).map(
            lambda env: [{"name": name, "value": value} for name, value in env.items()]
        ),
        "config": st.dictionaries(texts, texts | st.integers(-9, 9), max_size=3),
        "description": texts,
        "version": st.sampled_from(["1.0.0", "2.0.0-rc.1"]),
        "terminationGracePeriodSeconds": st.floats(0, 600),
        "entrypoint": st.sampled_from(["main:Hello", "pkg.mod:App"]),
    },
)


@given(accepted)
def test_no_accepted_manifest_widens_the_host_config(spec):
    wanted = workload(**spec)
    assert not_yet(wanted.manifest) == []
    body = create_body(wanted, IDENTITY)
    limits = wanted.manifest.spec.resources
    host, golden = deepcopy(body["HostConfig"]), deepcopy(GOLDEN["HostConfig"])
    tmpfs = host.pop("Tmpfs")
    assert tmpfs == {"/tmp": golden.pop("Tmpfs")["/tmp"].replace("size=16777216", f"size={limits.tmp_bytes}")}
    assert 2**20 <= limits.tmp_bytes <= 2**30
    for field, lowest, highest in (
        ("Memory", 16 * 2**20, 64 * 2**30),
        ("MemoryReservation", 8 * 2**20, 32 * 2**30),
        ("NanoCpus", 10**7, 64 * 10**9),
        ("PidsLimit", 8, 4096),
    ):
        assert lowest <= host.pop(field) <= highest
        golden.pop(field)
    assert host.pop("MemorySwap") == limits.memory_bytes, "swap is never added"
    golden.pop("MemorySwap")
    assert host == golden
    for field in set(GOLDEN) - {"HostConfig", "Env", "StopTimeout"}:
        assert body[field] == GOLDEN[field]
    assert set(body) == set(GOLDEN)
    assert 0 <= body["StopTimeout"] <= 600


@given(accepted)
def test_no_accepted_manifest_changes_what_the_sandbox_itself_is_told(spec):
    environment = dict(item.split("=", 1) for item in create_body(workload(**spec), IDENTITY)["Env"])
    assert environment["HOME"] == "/tmp"
    assert environment["PLUGIN_SOCKET"] == "/run/plugin/p.sock"
    assert environment["PLUGIN_PATH"] == "/plugin"
    assert json.loads(environment["PLUGIN_SPEC"])["name"] == "hello"
    assert not any(name.startswith("LD_") or name == "PATH" for name in environment)


def _fields(identity):
    return {name: getattr(identity, name) for name in Identity.__slots__}
