"""What an old manifest becomes: every field somewhere, left out with a word, or refused with a reason."""

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from integrations.legacy.folders import LegacyFolders
from integrations.legacy.old import Old
from integrations.legacy.translate import translate
from xcore.errors import InvalidSpec
from xcore.instance_spec import Isolation
from xcore.manifest import parse

FILES = frozenset({"src/main.py", "run.py"})


def old(manifest=None, info=None, **more):
    named = {"name": "notes", "version": "1.0.0"}
    return Old("folder", "plugin.yaml", {**named, **(manifest or {})}, info, FILES, **more)


def made(manifest=None, info=None, *, trusted=(), **more):
    return translate(old(manifest, info, **more), trusted=frozenset(trusted)).manifest()


def problems(manifest=None, info=None, **more):
    """Field → message of everything that is refused."""
    with pytest.raises(InvalidSpec) as refused:
        made(manifest, info, **more)
    return {problem.field: problem.message for problem in refused.value.problems}


def test_every_field_of_a_folder_with_handle_finds_its_place():
    """The whole of a manifest, as authors wrote them."""
    draft = translate(
        old(
            {
                "name": "notes_manager",
                "author": "Ada",
                "description": "Notes",
                "framework_version": ">=2.0",
                "execution_mode": "sandboxed",
                "entry_point": "src/main.py",
                "allowed_imports": ["json"],
                "resources": {
                    "timeout_seconds": 5,
                    "max_memory_mb": 64,
                    "max_disk_mb": 10,
                    "rate_limit": {"calls": 300, "period_seconds": 30},
                },
                "runtime": {
                    "log_level": "INFO",
                    "health_check": {"enabled": True, "interval_seconds": 30, "timeout_seconds": 3},
                    "retry": {"max_attempts": 2},
                },
                "env": {"TTL": 300, "DEBUG": False},
                "filesystem": {"allowed_paths": ["data/"], "denied_paths": ["src/"]},
                "configuration": {"unit": "km"},
                "theme": "dark",
            }
        )
    )
    assert draft.manifest().to_dict() == {
        "apiVersion": "xcore.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": "notes-manager", "annotations": {"author": "Ada"}},
        "spec": {
            "version": "1.0.0",
            "description": "Notes",
            "isolation": "Sandboxed",
            "entrypoint": "src.main:Plugin",
            "legacy": {"timeoutSeconds": 5, "rateLimit": {"calls": 300, "periodSeconds": 30}},
            "resources": {"memory": "64Mi"},
            "probes": {"liveness": {"periodSeconds": 30, "timeoutSeconds": 3}},
            "env": [{"name": "TTL", "value": "300"}, {"name": "DEBUG", "value": "false"}],
            "config": {"configuration": {"unit": "km"}, "theme": "dark"},
        },
    }
    left_out = {said.field for said in draft.said if not said.becomes}
    assert left_out == {
        *("framework_version", "allowed_imports", "resources.max_disk_mb", "runtime.log_level"),
        *("runtime.health_check.enabled", "runtime.retry"),
        *("filesystem.allowed_paths[0]", "filesystem.denied_paths[0]"),
    }


def test_every_field_of_a_module_with_plugin_info_finds_its_place():
    """Its path gives the name, so that whoever called it finds it; what the code alone needs stays there."""
    info = {
        "name": "Guest Book",
        "version": "1.0.0",
        "author": "Ada",
        "Api_prefix": "/app/guests",
        "tag_for_identified": ["Plugin", "guests"],
        "trigger": 2,
    }
    draft = translate(old({"name": "guests", "active": False, "async": True}, info, fastapi=True))
    assert draft.manifest().to_dict() == {
        "apiVersion": "xcore.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": "guests", "annotations": {"author": "Ada", "tags": "Plugin, guests"}},
        "spec": {
            "version": "1.0.0",
            "entrypoint": "run:Plugin",
            "legacy": {},
            "operatingMode": "Suspended",
            "dependencies": ["fastapi"],
        },
    }
    notes = {said.field: said.note for said in draft.said}
    assert notes["PLUGIN_INFO.name"] == "the path decides the name"
    assert notes["PLUGIN_INFO.trigger"] == "is for the code, which has it still"


@pytest.mark.parametrize(
    ("name", "label"),
    [("notes", "notes"), ("Notes_Manager", "notes-manager"), ("a.b c", "a-b-c"), ("x" * 80, "x" * 63)],
)
def test_a_name_that_is_none_today_is_changed_and_said(name, label):
    """Lower case, hyphens for whatever is neither letter nor digit."""
    draft = translate(old({"name": name}))
    assert draft.manifest().metadata.name == label
    said = next(said for said in draft.said if said.becomes == "metadata.name")
    assert ("is no name today" in said.note) == (name != label)


def test_a_name_of_nothing_usable_is_refused():
    """There is nothing a path could be made of."""
    assert "name" in problems({"name": "___"})


@pytest.mark.parametrize(
    "entry",
    ["/etc/main.py", "../main.py", "src/../../x.py", "..", "src\\main.py", "a\0.py", "", 7, "src/none.py"],
)
def test_an_entry_point_outside_the_folder_is_refused(entry):
    """Absolute, upwards, of another system, not there at all."""
    assert "entry_point" in problems({"entry_point": entry})


@pytest.mark.parametrize("entry", ["src/my-main.py", "src/1.py", "class.d/main.py"])
def test_an_entry_point_python_cannot_import_is_refused(entry):
    """Saying that this is why."""
    assert "Python can import" in problems({"entry_point": entry})["entry_point"]


@pytest.mark.parametrize(
    "value", ["${HOME}", "${DB_PASSWORD}", "${a b}", "${X\n}", "http://${HOST}/x", "a${B}${C}"]
)
def test_a_variable_of_the_host_is_refused(value):
    """Under the name it was to have; others in the same manifest are taken."""
    found = problems({"env": {"PASSWORD": value, "FINE": "1"}})
    assert list(found) == ["env.PASSWORD"]
    assert "spec.secrets" in found["env.PASSWORD"]


@pytest.mark.parametrize("path", ["/etc", "../other", "data/../../x", "C:\\x"])
@pytest.mark.parametrize("which", ["allowed_paths", "denied_paths"])
def test_a_path_outside_the_folder_is_refused(which, path):
    """Whether it was to be allowed or denied."""
    assert list(problems({"filesystem": {which: [path]}})) == [f"filesystem.{which}[0]"]


def test_a_denied_path_that_nothing_denies_today_is_refused():
    """Else the plugin could read what it was promised not to."""
    assert list(problems({"filesystem": {"denied_paths": ["src/", "private/"]}})) == [
        "filesystem.denied_paths[1]"
    ]


def test_a_file_read_into_the_environment_is_refused():
    """Where it is on; off, it is left out."""
    assert list(problems({"envconfiguration": {"inject": "true"}})) == ["envconfiguration.inject"]
    assert made({"envconfiguration": {"inject": False, "envfile": ".env"}}).spec.env == ()


def test_whatever_a_bound_forbids_is_told_by_its_old_name():
    """With what it becomes, and what is allowed there."""
    found = problems({"resources": {"max_memory_mb": 10**9}, "env": {"LD_PRELOAD": "x"}, "version": "a b"})
    assert set(found) == {"resources.max_memory_mb", "env", "version"}
    assert found["resources.max_memory_mb"].startswith("becomes spec.resources.memory, which must be")


@pytest.mark.parametrize("field", ["resources", "runtime", "env", "filesystem", "envconfiguration"])
@pytest.mark.parametrize("value", [3, "x", ["a"]])
def test_a_field_of_the_wrong_kind_is_refused(field, value):
    """By its name, whatever was in its place."""
    assert problems({field: value})[field] == "must be a mapping of names to values"


@pytest.mark.parametrize("mode", ["trusted", "legacy", "sandboxed", "ephemeral"])
def test_an_old_plugin_runs_in_a_sandbox_whatever_it_says(mode):
    """Nobody listed it."""
    assert made({"execution_mode": mode}).spec.isolation is Isolation.SANDBOXED


def test_only_a_listed_plugin_that_asks_for_it_is_trusted():
    """Both are needed; its libraries and environment are the controller's then."""
    trusted = made({"execution_mode": "trusted", "env": {"A": "1"}}, trusted=["notes"], fastapi=True)
    assert trusted.spec.isolation is Isolation.TRUSTED
    assert (trusted.spec.dependencies, trusted.spec.env) == ((), ())
    assert made({"execution_mode": "sandboxed"}, trusted=["notes"]).spec.isolation is Isolation.SANDBOXED
    assert made(trusted=["notes"]).spec.isolation is Isolation.SANDBOXED
    assert made({"execution_mode": "trusted"}, trusted=["other"]).spec.isolation is Isolation.SANDBOXED


def test_requirements_become_dependencies():
    """Names and versions; options and addresses are refused. FastAPI is added where the code imports it."""
    lines = ("httpx>=0.27", "FastAPI==0.120.0")
    assert made(requirements=lines, fastapi=True).spec.dependencies == lines
    assert made(fastapi=True).spec.dependencies == ("fastapi",)
    assert "requirements.txt" in problems(requirements=("-r other.txt",))
    assert "requirements.txt" in problems(requirements=("git+https://example.com/x",))


def test_what_it_requires_it_may_ask_to_call():
    """By today's names; the operator has to grant it, as for any plugin."""
    wanted = ["erp_core", {"name": "Auth", "version": ">=2.0"}]
    assert made({"requires": wanted}).spec.calls == ("erp-core", "auth")
    assert made({"requires": []}).spec.calls == ()
    assert "requires" in problems({"requires": [{"version": "1"}]})
    assert "requires" in problems({"requires": None})


def test_the_old_envelope_can_be_asked_for_in_the_old_manifest():
    """The one field that was added to it."""
    assert str(made({"envelope": "v0"}).spec.legacy.envelope) == "V0"
    assert "envelope" in problems({"envelope": "v9"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    *("name", "version", "author", "description", "execution_mode", "entry_point", "resources", "runtime"),
    *("env", "filesystem", "envconfiguration", "requires", "active", "envelope", "Api_prefix", "permissions"),
    *("tag_for_identified", "dependencies", "configuration"),
)


@example({"description": "0o10", "author": "1_000", "version": "1e3"}, True)
@example({"description": "\U0001f300 no", "author": "no", "version": "010"}, False)
@example({"configuration": {"\x85": "a\x85\u2028b\n c", "\xa0": " "}}, False)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6), st.booleans())
def test_whatever_stands_there_is_taken_or_refused(fields, as_info):
    """A manifest that can be written and read again, or problems that each name a field; nothing else is raised."""
    draft = translate(old({} if as_info else fields, fields if as_info else None))
    manifest, problems = None, ()
    try:
        manifest = draft.manifest()
    except InvalidSpec as error:
        problems = error.problems
    assert bool(problems) == (manifest is None)
    if manifest is None:
        return
    assert manifest.spec.isolation is Isolation.SANDBOXED
    assert parse(draft.text().encode(), name="it").wish() == manifest.wish()


def test_trust_is_never_read_from_an_old_folder_by_default():
    """Whoever makes the reader without saying so trusts nobody."""
    assert LegacyFolders()._trusted == frozenset()
