"""`apply`, `delete`, `rollback`, `revisions` against a real controller."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from controller.cli import app
from controller.cli.exits import Exit
from tests.harness import KEY, Controller, until
from tests.support import HELLO, document, write_plugin


@pytest.fixture
def controller(running: Controller, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    monkeypatch.setenv("XCORE_URL", running.url)
    monkeypatch.setenv("XCORE_KEY", KEY)
    yield running
    for item in running.request("GET", "/api/v1/plugins").json["items"]:
        running.request("DELETE", f"/api/v1/plugins/{item['metadata']['name']}", params={"wait": "Gone"})


def xcore(*arguments: object, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def test_a_folder_is_sent_changed_gone_back_from_and_removed(controller: Controller, tmp_path: Path) -> None:
    """The whole way of a plugin, each step told in one line."""
    folder = write_plugin(tmp_path / "hello", HELLO, files={"data/words.txt": "one"})
    assert xcore("apply", "-f", folder).stdout == "plugin/hello created\n"
    assert controller.call("hello", "greet", {"name": "Ada"}).json == "Hello Ada"
    assert xcore("apply", "-f", folder).stdout == "plugin/hello unchanged\n"
    write_plugin(folder, HELLO.replace("Hello {", "Hi {"))
    assert xcore("apply", "-f", folder, "--note", "shorter").stdout == "plugin/hello configured\n"
    assert controller.call("hello", "greet").json == "Hi world"
    rows = [line.split() for line in xcore("revisions", "hello").stdout.splitlines()]
    assert [row[0] for row in rows] == ["REVISION", "2", "1"]
    assert rows[1][1:4] == ["yes", "1.0.0", "update"]
    assert rows[1][-1] == "shorter"
    assert xcore("rollback", "hello").stdout == "plugin/hello rolled back to revision 1\n"
    assert controller.call("hello", "greet").json == "Hello world"
    assert xcore("rollback", "hello", "--to", 2, "-o", "json").stdout.startswith("{")
    assert xcore("delete", "hello").stdout == "plugin/hello deleted\n"
    assert xcore("delete", "hello").exit_code == Exit.NOT_FOUND


def test_code_in_a_folder_of_the_plugin_is_sent_with_it(controller: Controller, tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "hello", files={"src/main.py": HELLO}, source={"folder": "src"})
    (folder / "main.py").unlink()
    assert xcore("apply", "-f", folder).stdout == "plugin/hello created\n"
    assert controller.call("hello", "greet").json == "Hello world"


def test_what_get_prints_can_be_applied(controller: Controller, tmp_path: Path) -> None:
    xcore("apply", "-f", write_plugin(tmp_path / "hello"))
    shown = xcore("get", "hello", "-o", "yaml").stdout
    assert xcore("apply", "-f", "-", stdin=shown).stdout == "plugin/hello unchanged\n"
    (tmp_path / "hello.yaml").write_text(shown.replace("version: 1.0.0", "version: 2.0.0"))
    assert xcore("apply", "-f", tmp_path / "hello.yaml").stdout == "plugin/hello configured\n"


def test_a_folder_of_the_controllers_is_left_alone(controller: Controller, tmp_path: Path) -> None:
    write_plugin(controller.plugins / "mine")
    controller.wait_ready("mine")
    refused = xcore("apply", "-f", write_plugin(tmp_path / "mine"))
    assert refused.exit_code == Exit.REFUSED
    assert (
        "Conflict: mine lives in the folder mine of the plugins directory; change it there" in refused.stderr
    )
    for command in (("delete", "mine"), ("rollback", "mine", "--to", 1), ("revisions", "mine")):
        assert xcore(*command).exit_code == Exit.REFUSED
    assert controller.call("mine", "greet").status == 200
    shutil.rmtree(controller.plugins / "mine")
    until(lambda: controller.request("GET", "/api/v1/plugins/mine").status == 404)


def test_dependencies_without_a_lock_are_told_before_anything_is_sent(
    controller: Controller, tmp_path: Path
) -> None:
    folder = write_plugin(tmp_path / "hello", dependencies=["pillow>=11"])
    refused = xcore("apply", "-f", folder)
    assert refused.exit_code == Exit.REFUSED
    assert f"run `xcore pack {folder}`" in refused.stderr
    (folder / "plugin.lock").write_text("nonsense")
    assert "run `xcore pack" in xcore("apply", "-f", folder).stderr
    assert controller.request("GET", "/api/v1/plugins/hello").status == 404


def test_what_cannot_be_sent_is_told_by_its_exit_code(controller: Controller, tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "hello")
    (folder / "link").symlink_to("/etc/passwd")
    assert xcore("apply", "-f", folder).exit_code == Exit.REFUSED
    assert xcore("apply", "-f", tmp_path / "nowhere").exit_code == Exit.NOT_FOUND
    assert xcore("apply", "-f", "-", stdin="a: [").exit_code == Exit.REFUSED
    alone = xcore("apply", "-f", "-", stdin=json.dumps(document()))
    assert alone.exit_code == Exit.REFUSED
    assert "spec.source.folder: must come with its code" in alone.stderr
    assert xcore("revisions", "nobody").exit_code == Exit.NOT_FOUND


def test_a_plugin_that_does_not_come_up_fails_the_command(controller: Controller, tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "hello", "raise SystemExit(3)")
    failed = xcore("apply", "-f", folder, "--timeout", 3)
    assert failed.exit_code == Exit.FAILED
    assert "WaitTimeout" in failed.stderr
    assert xcore("rollback", "hello").exit_code == Exit.REFUSED
