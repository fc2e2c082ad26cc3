"""Secrets through a whole controller: for the plugin alone, nowhere else, and a change is a new revision."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.docker.conftest import Running
from tests.harness import Controller, until

pytestmark = pytest.mark.docker

CODE = """
import os
from pathlib import Path
from xcore.plugin import Plugin, action

class Keeper(Plugin):
    @action
    async def tell(self) -> dict[str, str]:
        return dict(self.context.secrets)

    @action
    async def look(self) -> list[str]:
        place = Path(os.environ["PLUGIN_SECRETS"])
        try:
            (place / "mail" / "password").write_text("mine")
        except OSError as error:
            return [str(place), type(error).__name__]
        return [str(place), "written"]
"""
SENTINEL = "S3NT1NEL-7d1f"


def put(running: Running, value: str) -> None:
    folder = running.root / "state" / "secrets" / "mail"
    folder.mkdir(parents=True, exist_ok=True)
    running.root.joinpath("state").chmod(0o711)
    folder.parent.chmod(0o700)
    (folder / "password").write_text(value)


def told(controller: Controller) -> Any:
    return json.loads(controller.request("POST", "/app/keeper/tell", json={}).content)


@pytest.mark.parametrize(
    ("isolation", "settings"),
    [
        ("Sandboxed", {"XCORE_RUNTIME": "docker"}),
        ("Sandboxed", {"XCORE_RUNTIME": "process"}),
        ("Trusted", {"XCORE_RUNTIME": "process", "XCORE_TRUSTED": "keeper"}),
    ],
)
def test_a_plugin_gets_the_secrets_it_names_and_a_change_rolls_it(
    running: Running, isolation: str, settings: dict[str, str]
) -> None:
    """The same words wherever it runs; within 15 s of a change a new revision has the new value."""
    put(running, SENTINEL)
    running.plugin("keeper", CODE, "Keeper", isolation=isolation, secrets=[{"name": "mail"}])
    controller = running.controller(**settings)
    controller.wait_ready("keeper")
    assert told(controller) == {"mail/password": SENTINEL}
    first = controller.status("keeper")["currentRevision"]
    put(running, "another")
    until(lambda: told(controller) == {"mail/password": "another"}, seconds=40)
    assert controller.status("keeper")["currentRevision"] != first


def test_a_sandbox_can_read_its_secrets_and_nobody_finds_them_elsewhere(running: Running) -> None:
    """Read-only to the plugin; not in what the engine tells, the status, the records or the log; gone with it."""
    put(running, SENTINEL)
    running.plugin("keeper", CODE, "Keeper", secrets=[{"name": "mail", "key": "password"}])
    controller = running.controller()
    controller.wait_ready("keeper")
    looked = controller.request("POST", "/app/keeper/look", json={})
    assert json.loads(looked.content) in (["/run/secrets", "PermissionError"], ["/run/secrets", "OSError"])
    shown = json.dumps([running.engine.inspect(c) for c in running.engine.containers()])
    assert SENTINEL not in shown
    assert SENTINEL not in json.dumps(controller.status("keeper"))
    handed = running.root / "state" / "handed"
    assert [path.read_text() for path in handed.rglob("password")] == [SENTINEL]
    controller.stop()
    assert list(handed.iterdir()) == []
    kept = [p for p in (running.root / "state").rglob("*") if p.is_file() and "secrets" not in p.parts]
    assert [p for p in kept if SENTINEL.encode() in p.read_bytes()] == []


def test_a_secret_that_is_not_there_is_named_in_the_status(running: Running) -> None:
    running.plugin("keeper", CODE, "Keeper", secrets=[{"name": "mail"}])
    controller = running.controller()
    until(lambda: controller.condition("keeper", "ResolvedRefs")[0] == "False", seconds=20)
    assert controller.condition("keeper", "ResolvedRefs")[1:] == ("SecretNotFound", "there is no secret mail")
