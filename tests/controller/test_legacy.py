"""Plugins of the old system, as they were written, behind the controller: both kinds, both forms, every isolation."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controller.cli import app
from controller.cli.exits import Exit
from integrations.legacy.folders import LegacyFolders
from tests.harness import KEY, Controller, until
from xcore.manifest import parse

EXAMPLES = Path(__file__).parents[2] / "examples" / "legacy"
V0 = {"Accept": "application/vnd.xcore.v0+json"}


@pytest.fixture(scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def served(request) -> Iterator[Controller]:
    """The examples in sandboxes, and the first of them once more with what old clients need."""
    with tempfile.TemporaryDirectory(prefix="xcore-test-") as root:
        Path(root).chmod(0o755)
        plugins = Path(root, "plugins")
        shutil.copytree(EXAMPLES, plugins, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(plugins / "temperature", plugins / "for-old-clients")
        manifest = plugins / "for-old-clients" / "plugin.yaml"
        text = manifest.read_text().replace("name: temperature_tools", "name: old_clients\nenvelope: v0")
        manifest.write_text(text)
        settings = {"XCORE_RUNTIME": request.param, "XCORE_ON_EXIT": "stop"}
        controller = Controller(plugins, Path(root, "state"), settings)
        controller.start()
        try:
            for name in ("temperature-tools", "old-clients", "guestbook"):
                controller.wait_ready(name, 90)
            yield controller
        finally:
            assert controller.stop() == 0


def test_a_plugin_with_handle_answers_both_forms(served):
    """Its data folder was read, its environment is there, both its modules were imported."""
    answer = served.call("temperature-tools", "convert", {"value": 100, "to": "fahrenheit"})
    result = {"status": "ok", "value": 212.0, "unit": "fahrenheit"}
    assert (answer.status, answer.json) == (200, result)
    assert served.call("temperature-tools", "feel", {"value": 25}).json["word"] == "warm"
    answer = served.request(
        "POST",
        "/app/temperature-tools/convert",
        json={"payload": {"value": 100, "to": "fahrenheit"}},
        headers=V0,
    )
    envelope = {"status": "ok", "plugin": "temperature-tools", "action": "convert", "result": result}
    assert (answer.status, answer.json) == (200, envelope)
    assert answer.headers["content-type"] == "application/vnd.xcore.v0+json"


def test_a_plugin_with_routes_answers_both_forms(served):
    """Its paths are what they were, and `run` is an action."""
    added = served.request("POST", "/app/guestbook/entries", json={"name": "Ada", "text": "was here"})
    assert added.status == 201
    number = added.json["number"]
    assert served.request("GET", f"/app/guestbook/entries/{number}").json["name"] == "Ada"
    assert served.request("GET", "/app/guestbook/").json["path"] == "/app/guestbook/"
    assert served.request("GET", "/app/guestbook/entries/none").status == 422
    assert served.call("guestbook", "run", {"limit": 1}).json["entries"] == [
        {"name": "Ada", "text": "was here"}
    ]
    answer = served.request("POST", "/app/guestbook/run", json={"payload": {"limit": 1}}, headers=V0).json
    assert (answer["status"], answer["plugin"], answer["action"]) == ("ok", "guestbook", "run")
    assert answer["result"]["entries"] == [{"name": "Ada", "text": "was here"}]


def test_old_clients_are_answered_as_they_were(served):
    """One line in the manifest: no header is needed, and failures are told in the envelope as well."""
    answer = served.call("old-clients", "ping", {"payload": {}})
    result = {"status": "ok", "msg": "pong", "unit": "celsius"}
    assert answer.json == {"status": "ok", "plugin": "old-clients", "action": "ping", "result": result}
    assert answer.headers["content-type"] == "application/json"
    answer = served.call("old-clients", "nothing", {"payload": {}})
    assert (answer.status, answer.json["status"], answer.json["result"]["code"]) == (
        200,
        "error",
        "not_found",
    )
    answer = served.call("old-clients", "feel", {"payload": {"value": "hot"}})
    assert (answer.status, answer.json["status"], answer.json["result"]["code"]) == (
        500,
        "error",
        "ActionFailed",
    )


def test_its_routes_are_in_the_document_of_all(served):
    """As those of every other application."""
    paths = served.request("GET", "/openapi.json").json["paths"]
    assert {"/app/guestbook/", "/app/guestbook/entries", "/app/guestbook/entries/{number}"} <= paths.keys()


def test_an_old_plugin_runs_in_a_sandbox_like_any_other(served):
    """What its status says of isolation is what it says of a plugin of today."""
    status = served.status("temperature-tools")
    assert status["runtime"] == served.settings["XCORE_RUNTIME"]
    isolated = served.condition("temperature-tools", "NetworkIsolated")[1]
    assert isolated == ("Enforced" if status["runtime"] == "docker" else "NotEnforced")


def test_a_trusted_old_plugin_runs_in_the_controller_where_it_is_listed(open_dir):
    """It asks for it and the operator names it: both kinds of import, routes with the controller's FastAPI."""
    for name in ("temperature", "guestbook"):
        shutil.copytree(EXAMPLES / name, open_dir / "plugins" / name)
    manifest = open_dir / "plugins" / "temperature" / "plugin.yaml"
    manifest.write_text(manifest.read_text().replace("execution_mode: sandboxed", "execution_mode: trusted"))
    described = open_dir / "plugins" / "guestbook" / "plugin.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "execution_mode": "legacy"}))
    settings = {
        "XCORE_RUNTIME": "process",
        "XCORE_ON_EXIT": "stop",
        "XCORE_TRUSTED": '["temperature-tools", "guestbook"]',
    }
    controller = Controller(open_dir / "plugins", open_dir / "state", settings)
    controller.start()
    try:
        for name in ("temperature-tools", "guestbook"):
            controller.wait_ready(name, 60)
            assert controller.status(name)["runtime"] == "inprocess"
        feeling = controller.call("temperature-tools", "feel", {"value": 25, "unit": "celsius"})
        assert feeling.json["word"] == "warm"
        assert controller.request("GET", "/app/guestbook/").json["count"] == 0
        assert controller.call("guestbook", "run", {}).json["count"] == 0
    finally:
        assert controller.stop() == 0


def test_an_old_folder_is_sent_like_any_other(open_dir, folder, monkeypatch):
    """Its manifest is translated before, whatever is written in it."""
    manifest = folder / "plugin.yaml"
    manifest.write_text(manifest.read_text().replace("names how they feel", "names how they feel \U0001f321"))
    controller = Controller(
        open_dir / "plugins", open_dir / "state", {"XCORE_RUNTIME": "process", "XCORE_ON_EXIT": "stop"}
    )
    controller.start()
    monkeypatch.setenv("XCORE_URL", controller.url)
    monkeypatch.setenv("XCORE_KEY", KEY)
    try:
        done = run("apply", "-f", folder)
        assert (done.exit_code, done.stdout) == (Exit.DONE, "plugin/temperature-tools created\n"), done.output
        assert controller.resource("temperature-tools")["spec"]["description"].endswith("\U0001f321")
        assert controller.call("temperature-tools", "ping").json["msg"] == "pong"
        manifest.write_text(manifest.read_text().replace('"celsius"', '"${UNIT}"'))
        refused = run("apply", "-f", folder)
        assert (refused.exit_code, "env.DEFAULT_UNIT" in refused.output) == (Exit.REFUSED, True)
    finally:
        assert controller.stop() == 0


def test_a_folder_that_is_refused_says_so_and_is_taken_when_it_is_mended(open_dir):
    """In its status; the others run."""
    shutil.copytree(EXAMPLES / "temperature", open_dir / "plugins" / "temperature")
    manifest = open_dir / "plugins" / "temperature" / "plugin.yaml"
    good = manifest.read_text()
    controller = Controller(
        open_dir / "plugins", open_dir / "state", {"XCORE_RUNTIME": "process", "XCORE_ON_EXIT": "stop"}
    )
    controller.start()
    try:
        controller.wait_ready("temperature-tools")
        manifest.write_text(good.replace('"celsius"', '"${UNIT}"'))
        refused = until(
            lambda: (found := controller.condition("temperature-tools", "Accepted"))[0] == "False" and found
        )
        assert refused[1] == "InvalidSpec"
        assert "env.DEFAULT_UNIT: must be a value" in refused[2]
        assert controller.call("temperature-tools", "ping").status == 200
        manifest.write_text(good.replace('"celsius"', '"kelvin"'))
        until(lambda: controller.call("temperature-tools", "ping").json["unit"] == "kelvin")
    finally:
        assert controller.stop() == 0


# -- the command line ----------------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(open_dir):
    return shutil.copytree(
        EXAMPLES / "temperature", open_dir / "temperature", ignore=shutil.ignore_patterns("__pycache__")
    )


def test_check_says_what_becomes_of_each_field(folder, monkeypatch):
    """And starts the plugin, like any other."""
    done = run("check", folder, "--runtime", "process")
    assert done.exit_code == Exit.DONE, done.output
    said = {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines()}
    assert said["resources.max_memory_mb"].startswith("spec.resources.memory")
    assert said["framework_version"] == "nothing there is one system now"
    assert (
        "temperature-tools starts in a child process; it answers as it did in the old system" in done.stdout
    )


def test_check_names_everything_that_is_refused(folder):
    """Field by field, for people and programs, before anything is started."""
    manifest = folder / "plugin.yaml"
    manifest.write_text(
        manifest.read_text().replace('"celsius"', '"${UNIT}"').replace("src/main.py", "../x.py")
    )
    done = run("check", folder)
    assert done.exit_code == Exit.FAILED
    assert "entry_point: must be a Python file inside the folder" in done.stdout
    assert "env.DEFAULT_UNIT: must be a value: UNIT is the host's" in done.stdout
    told = json.loads(run("check", folder, "-o", "json").stdout)
    assert {problem["field"] for problem in told["problems"]} == {"entry_point", "env.DEFAULT_UNIT"}


def test_check_reads_old_folders_beside_todays(open_dir):
    """One command over a directory of both."""
    shutil.copytree(EXAMPLES, open_dir / "all", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(EXAMPLES.parent / "hello", open_dir / "all" / "hello")
    told = json.loads(run("check", open_dir / "all", "--static", "-o", "json").stdout)
    assert len(told["plugins"]) == 3
    assert told["problems"] == []


def test_migrate_writes_a_manifest_that_is_the_same_plugin(folder):
    """The old manifest is kept under another name, the code is not touched, a second time changes nothing."""
    before = LegacyFolders().manifest(folder)
    old = (folder / "plugin.yaml").read_bytes()
    code = {path: path.read_bytes() for path in folder.rglob("*.py")}
    done = run("migrate", folder)
    assert done.exit_code == Exit.DONE, done.output
    assert f"{folder}/plugin.v0.yaml: the old one, as it was" in done.stdout
    assert parse((folder / "plugin.yaml").read_bytes(), name="plugin.yaml").wish() == before.wish()
    assert (folder / "plugin.v0.yaml").read_bytes() == old
    assert {path: path.read_bytes() for path in folder.rglob("*.py")} == code
    again = run("migrate", folder)
    assert (again.exit_code, "nothing was written" in again.output) == (Exit.DONE, True)
    assert run("check", folder, "--static").exit_code == Exit.DONE


def test_migrate_beside_another_manifest_overwrites_nothing(open_dir):
    """A `plugin.json` stays; the new file is the one that counts."""
    folder = shutil.copytree(EXAMPLES / "guestbook", open_dir / "guestbook")
    told = json.loads(run("migrate", folder, "-o", "json").stdout)
    assert (told["written"], told["kept"]) == (f"{folder}/plugin.yaml", None)
    assert (folder / "plugin.json").exists()
    assert parse((folder / "plugin.yaml").read_bytes(), name="it").metadata.name == "guestbook"


def test_migrate_writes_nothing_where_something_is_refused(folder):
    """Nor where the name for the old manifest is taken, nor where there is no old plugin."""
    manifest = folder / "plugin.yaml"
    good = manifest.read_text()
    manifest.write_text(good.replace('"celsius"', '"${UNIT}"'))
    done = run("migrate", folder)
    assert (done.exit_code, "env.DEFAULT_UNIT" in done.output) == (Exit.REFUSED, True)
    assert sorted(path.name for path in folder.iterdir()) == ["data", "plugin.yaml", "src"]
    manifest.write_text(good)
    (folder / "plugin.v0.yaml").write_text("mine")
    assert run("migrate", folder).exit_code == Exit.REFUSED
    assert (manifest.read_text(), (folder / "plugin.v0.yaml").read_text()) == (good, "mine")
    assert run("migrate", folder / "src").exit_code == Exit.NOT_FOUND
