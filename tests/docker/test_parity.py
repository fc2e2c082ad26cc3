"""One plugin, three isolations: moving it changes one field and no answer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import Running

pytestmark = pytest.mark.docker

HELLO = Path(__file__).parents[2] / "examples" / "hello"
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/app/hello/greet", {"json": {"name": "Ada"}}),
    ("POST", "/app/hello/greet", {"content": b""}),
    ("POST", "/app/hello/greet", {"json": {"name": 3}}),
    ("POST", "/app/hello/greet", {"json": {"nobody": "knows"}}),
    ("POST", "/app/hello/greet", {"content": b"{not json"}),
    ("POST", "/app/hello/greet", {"content": b"[" * 5000}),
    ("POST", "/app/hello/greet", {"content": '{"name": "Zoë ☃"}'.encode()}),
    ("GET", "/app/hello/greet", {}),
    ("GET", "/app/hello/add?a=1&b=2", {}),
    ("GET", "/app/hello/add?a=one", {}),
    ("HEAD", "/app/hello/add?a=1", {}),
    ("POST", "/app/hello/add", {"json": {"a": 2**40}}),
    ("POST", "/app/hello/nothing", {"json": {}}),
    ("GET", "/app/hello", {}),
    ("DELETE", "/app/hello/greet", {}),
]
# `connection` is about one hop: an answer that overtakes its request's body ends the connection.
VARYING = {"date", "x-request-id", "connection"}


def answers(running: Running, **settings: str) -> list[Any]:
    controller = running.controller(**settings)
    controller.wait_ready("hello")
    heard = []
    for method, path, options in REQUESTS:
        headers = {"X-Request-ID": "the-same-one"}
        answer = controller.request(method, path, headers=headers, **options)
        kept = [(k, v) for k, v in answer.headers.multi_items() if k not in VARYING]
        heard.append((method, path, answer.status, kept, answer.content))
    runtime = controller.status("hello")["runtime"]
    controller.stop()
    return [runtime, heard]


def test_hello_answers_the_same_bytes_trusted_as_a_process_and_in_docker(running: Running) -> None:
    """No line of its code changes; status, header fields and bodies are equal, good requests and bad."""
    shutil.copytree(HELLO, running.plugins / "hello")
    manifest = running.plugins / "hello" / "plugin.yaml"
    docker, in_docker = answers(running, XCORE_RUNTIME="docker")
    process, in_process = answers(running, XCORE_RUNTIME="process")
    manifest.write_text(manifest.read_text().replace("spec:", "spec:\n  isolation: Trusted", 1))
    trusted, in_controller = answers(running, XCORE_RUNTIME="process", XCORE_TRUSTED="hello")
    assert [docker, process, trusted] == ["docker", "process", "inprocess"]
    for number in range(len(REQUESTS)):
        assert in_docker[number] == in_process[number] == in_controller[number]
    assert [answer[2] for answer in in_docker[:6]] == [200, 200, 422, 422, 400, 422]
