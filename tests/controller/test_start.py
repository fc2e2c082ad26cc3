"""What happens when a controller cannot start as asked: it says what to do, leaves nothing behind, and exits 1."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Controller, until

HELLO = Path(__file__).parents[2] / "examples" / "hello"
NO_ENGINE = {"XCORE_DOCKER_HOST": "unix:///nonexistent/docker.sock"}


@pytest.fixture
def controller() -> Iterator[Controller]:
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    shutil.copytree(HELLO, root / "plugins" / "hello")
    made = Controller(root / "plugins", root / "state")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    shutil.rmtree(root)


def refused(controller: Controller) -> str:
    controller.start(ready=False)
    assert controller.process is not None
    assert controller.process.wait(30) == 1
    text = controller.log.read_text()
    assert "Traceback" not in text
    return text


def test_a_port_in_use_is_named_before_anything_is_started(controller: Controller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        controller.port = taken.getsockname()[1]
        controller.settings = {"XCORE_RUNTIME": "process"}
        text = refused(controller)
    assert (
        f"cannot listen on 127.0.0.1:{controller.port} (Address already in use); set XCORE_HOST or XCORE_PORT"
        in text
    )


def test_a_state_directory_that_cannot_be_written_is_named(controller: Controller) -> None:
    controller.state.write_text("a file, not a directory")
    controller.settings = {"XCORE_RUNTIME": "process"}
    assert "set XCORE_STATE_DIR" in refused(controller)
    assert controller.state.read_text() == "a file, not a directory"


def test_docker_named_outright_is_refused_where_no_engine_answers(controller: Controller) -> None:
    controller.settings = {"XCORE_RUNTIME": "docker", **NO_ENGINE}
    assert "the Docker engine at unix:///nonexistent/docker.sock does not answer" in refused(controller)


def test_auto_off_loopback_is_refused_where_no_engine_answers(controller: Controller) -> None:
    """The process runtime isolates faults, not attackers: it is never taken silently on an open port."""
    controller.settings = {"XCORE_HOST": "0.0.0.0", **NO_ENGINE}
    assert "the process runtime is for loopback only" in refused(controller)


def test_auto_takes_the_process_runtime_where_no_engine_answers_and_says_so(controller: Controller) -> None:
    controller.settings = NO_ENGINE
    controller.start()
    controller.wait_ready("hello")
    assert "Docker cannot be used" in controller.log.read_text()
    assert controller.call("hello", "greet", {"name": "Ada"}).json == "Hello Ada"
    isolated = controller.condition("hello", "NetworkIsolated")
    assert isolated[:2] == ("False", "NotEnforced")
    assert "isolates faults, not attackers" in isolated[2]


@pytest.mark.docker
def test_a_missing_image_is_refused_with_the_command_that_makes_it(controller: Controller) -> None:
    controller.settings = {"XCORE_RUNTIME": "docker", "XCORE_SANDBOX_IMAGE": "xcore/sandbox:never-built"}
    assert "`make image` builds it" in refused(controller)


def test_settings_nobody_knows_are_refused_by_name(controller: Controller) -> None:
    controller.settings = {"XCORE_PLUGIN_DIR": "x"}
    controller.start(ready=False)
    assert controller.process is not None
    assert controller.process.wait(30) == 2
    assert "XCORE_PLUGINS_DIR" in controller.log.read_text()


def test_the_admin_key_is_shown_once_and_kept_as_a_hash(controller: Controller) -> None:
    controller.settings = {"XCORE_RUNTIME": "process", "XCORE_ADMIN_KEY": ""}
    controller.start()
    until(lambda: "try it:" in controller.log.read_text())
    text = controller.log.read_text()
    key = text.split("admin key (shown once, keep it): ")[1].split("\n")[0]
    assert f'curl -s -H "Authorization: Bearer {key}" {controller.url}/app/hello/greet' in text
    kept = controller.state / "admin-key.sha256"
    assert kept.stat().st_mode & 0o777 == 0o600
    everything = b"".join(f.read_bytes() for f in controller.state.rglob("*") if f.is_file())
    assert key.encode() not in everything
    controller.stop()
    controller.log.write_text("")
    controller.start()
    assert key not in controller.log.read_text()


def test_what_is_wrong_with_a_folder_is_told_in_its_status_and_disturbs_nobody(
    controller: Controller,
) -> None:
    """Bad YAML, an unknown field, a taken name, a link, a trusted one nobody named: each with its reason."""
    folders = {
        "bad-yaml": ("spec: [", "InvalidSpec"),
        "unknown-field": (_manifest("unknown-field", "  entrypont: main:Hello"), "InvalidSpec"),
        "not-yet": (_manifest("not-yet", "  entrypoint: main:Hello\n  replicas: 3"), "NotSupported"),
        "trusted": (
            _manifest("trusted", "  entrypoint: main:Hello\n  isolation: Trusted"),
            "NotAllowedTrusted",
        ),
        "twice": (_manifest("hello", "  entrypoint: main:Hello"), "RouteConflict"),
        "linked": (_manifest("linked", "  entrypoint: main:Hello"), "InvalidBundle"),
    }
    for name, (manifest, _) in folders.items():
        folder = controller.plugins / name
        folder.mkdir()
        (folder / "plugin.yaml").write_text(manifest)
        (folder / "main.py").write_bytes((HELLO / "main.py").read_bytes())
    (controller.plugins / "linked" / "passwd").symlink_to("/etc/passwd")
    controller.settings = {"XCORE_RUNTIME": "process"}
    controller.start()
    controller.wait_ready("hello")
    for name, (_, reason) in folders.items():
        condition = controller.condition(name, "Accepted")
        assert condition[:2] == ("False", reason), (name, condition)
        assert condition[2]
        assert str(controller.plugins) not in condition[2]
    assert "entrypoint" in controller.condition("unknown-field", "Accepted")[2]
    assert controller.call("hello", "greet").status == 200


def test_sigterm_drains_and_ends_with_0(controller: Controller) -> None:
    controller.settings = {"XCORE_RUNTIME": "process"}
    controller.start()
    controller.wait_ready("hello")
    assert controller.stop() == 0


def test_who_follows_logs_or_events_does_not_hold_up_the_end(controller: Controller) -> None:
    controller.settings = {"XCORE_RUNTIME": "process"}
    controller.start()
    controller.wait_ready("hello")
    with (
        controller.client() as client,
        client.stream("GET", "/api/v1/plugins/hello/logs?follow=true") as logs,
        client.stream("GET", "/api/v1/events", headers={"Accept": "text/event-stream"}) as events,
    ):
        told = events.iter_lines()
        assert next(told).startswith(":")
        began = time.monotonic()
        assert controller.stop() == 0
        assert time.monotonic() - began < 8
        for line in (*told, *logs.iter_lines()):  # each comes to a clean end
            assert isinstance(line, str)
    text = controller.log.read_text()
    steps = ["asked to end", "background work has ended", "finishing requests", "requests are done"]
    assert sorted(steps, key=text.index) == steps


def test_a_database_that_is_away_holds_up_neither_calls_nor_the_end(controller: Controller) -> None:
    """Plugins serve, events are asked for in vain, and the process ends with 0, saying what it could not write."""
    controller.settings = {
        "XCORE_RUNTIME": "process",
        "XCORE_DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:1/none",
    }
    controller.start()
    controller.wait_ready("hello")
    assert controller.call("hello", "greet", {"name": "Ada"}).json == "Hello Ada"
    asked = controller.request("GET", "/api/v1/events")
    assert (asked.status, asked.reason) == (503, "DatabaseUnavailable")
    assert controller.stop() == 0
    assert "the latest events are lost: they could not be written in time" in controller.log.read_text()


def test_what_happened_is_there_for_the_next_controller(controller: Controller) -> None:
    """A stream is taken up over a restart, and misses nothing."""
    controller.settings = {"XCORE_RUNTIME": "process"}
    controller.start()
    controller.wait_ready("hello")
    until(lambda: controller.request("GET", "/api/v1/plugins/hello/events").json["items"])
    newest = controller.request("GET", "/api/v1/events?limit=1").json["items"][0]["id"]
    assert controller.stop() == 0
    controller.start()
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(newest)}
    seen: list[str] = []
    with controller.client() as client, client.stream("GET", "/api/v1/events", headers=headers) as stream:
        for line in stream.iter_lines():
            if line.startswith(("id:", "event:")):
                seen.append(line)
            if line == "event: ManagerStarting":
                break
    assert seen[0] == f"id: {newest + 1}"
    assert [line for line in seen if line.startswith("event: Manager")] == [
        "event: ManagerStopping",
        "event: ManagerStarting",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to hide from")
def test_code_that_the_sandbox_user_cannot_read_is_refused_and_never_run_as_root(
    controller: Controller,
) -> None:
    controller.settings = {"XCORE_RUNTIME": "process"}
    controller.plugins.parent.chmod(0o700)
    controller.start()
    until(lambda: controller.condition("hello", "Programmed")[1] == "WorkloadRejected")
    assert controller.condition("hello", "Ready")[0] == "False"


def _manifest(name: str, spec: str) -> str:
    return f"apiVersion: xcore.dev/v1alpha1\nkind: Plugin\nmetadata: {{name: {name}}}\nspec:\n{spec}\n"


def test_a_controller_without_a_plugins_directory_is_ready_and_says_so_once(controller: Controller) -> None:
    """Plugins may be sent to it; a directory that comes later is read, also after it was replaced."""
    shutil.rmtree(controller.plugins)
    controller.settings = {"XCORE_RUNTIME": "process", "XCORE_ON_EXIT": "stop"}
    controller.start()
    for _ in range(2):
        shutil.copytree(HELLO, controller.plugins / "hello")
        controller.wait_ready("hello", 12)
        shutil.rmtree(controller.plugins)
        controller.plugins.mkdir()
        until(lambda: controller.request("GET", "/api/v1/plugins/hello").status == 404, 12, "its going")
    controller.stop()
    text = controller.log.read_text()
    assert text.count("there is no plugins directory") == 1
    assert "ERROR" not in text
