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


EVENTS = {"headers": {"Accept": "text/event-stream"}}
APPLICATION = """
    async def app(scope, receive, send):
        assert scope["type"] == "http", "no lifespan"
        path = scope["path"].removeprefix(scope["root_path"])
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        if path == "/broken":
            raise LookupError("a mistake")
        if path == "/redirect":
            headers = [(b"location", scope["root_path"].encode() + b"/here")]
        else:
            headers = [(b"set-cookie", b"a=1; Path=/"), (b"x-cookie", dict(scope["headers"]).get(b"cookie", b""))]
        told = f"{scope['method']} {scope['path']} {scope['root_path']} {scope['scheme']} {scope['client'][0]} {len(body)}"
        await send({"type": "http.response.start", "status": 307 if path == "/redirect" else 200, "headers": headers})
        await send({"type": "http.response.body", "body": told.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"x" * int(scope["query_string"] or b"0")})
"""
APPLICATION_REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/app/plain", {}),
    ("GET", "/app/plain/", {"headers": {"Cookie": "b=2"}}),
    ("PATCH", "/app/plain/a/b%20c", {"content": b"x" * 300_000}),
    ("GET", "/app/plain/download?2000000", {}),
    ("GET", "/app/plain/redirect", {}),
    ("GET", "/app/plain/broken", {}),
    ("HEAD", "/app/plain/", {}),
    ("OPTIONS", "/app/plain/x", {}),
]
STREAMS = """
    from collections.abc import AsyncIterator, Iterator
    from xcore.plugin import Plugin, action

    class Streams(Plugin):
        @action(safe=True)
        async def count(self, to: int = 3) -> AsyncIterator[int]:
            for number in range(to):
                yield number

        @action
        def sync(self) -> Iterator[str]:
            yield "Zo\u00eb"

        @action(safe=True)
        async def fails(self) -> AsyncIterator[int]:
            raise LookupError("at once")
            yield 1
"""
STREAMS_REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/app/streams/count", {}),
    ("GET", "/app/streams/count?to=2", EVENTS),
    ("GET", "/app/streams/count?to=0", EVENTS),
    ("HEAD", "/app/streams/count", {}),
    ("GET", "/app/streams/count?to=x", EVENTS),
    ("POST", "/app/streams/sync", {}),
    ("GET", "/app/streams/fails", EVENTS),
    ("GET", "/app/streams/openapi.json", {}),
    ("GET", "/app/streams", {}),
]


def answers(
    running: Running,
    name: str = "hello",
    requests: list[tuple[str, str, dict[str, Any]]] = REQUESTS,
    **settings: str,
) -> list[Any]:
    controller = running.controller(**settings)
    controller.wait_ready(name)
    heard = []
    for method, path, asked in requests:
        options = dict(asked)
        headers = {"X-Request-ID": "the-same-one", "Host": "example", **options.pop("headers", {})}
        answer = controller.request(method, path, headers=headers, **options)
        kept = [(k, v) for k, v in answer.headers.multi_items() if k not in VARYING]
        heard.append((method, path, answer.status, kept, answer.content))
    runtime = controller.status(name)["runtime"]
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


@pytest.mark.parametrize(
    ("name", "code", "entry", "requests"),
    [
        ("plain", APPLICATION, "app", APPLICATION_REQUESTS),
        ("streams", STREAMS, "Streams", STREAMS_REQUESTS),
    ],
)
def test_applications_and_streams_answer_the_same_bytes_everywhere(
    running: Running, name: str, code: str, entry: str, requests: list[tuple[str, str, dict[str, Any]]]
) -> None:
    """Paths, prefix, cookies, redirects, uploads, downloads, events and JSON lines."""
    running.plugin(name, code, entry)
    docker, in_docker = answers(running, name, requests, XCORE_RUNTIME="docker")
    process, in_process = answers(running, name, requests, XCORE_RUNTIME="process")
    running.plugin(name, code, entry, isolation="Trusted")
    trusted, in_controller = answers(running, name, requests, XCORE_RUNTIME="process", XCORE_TRUSTED=name)
    assert [docker, process, trusted] == ["docker", "process", "inprocess"]
    for number in range(len(requests)):
        assert in_docker[number] == in_process[number] == in_controller[number]
    expected = {
        "plain": [200, 200, 200, 200, 307, 500, 200, 200],
        "streams": [200, 200, 200, 200, 422, 200, 500, 200, 200],
    }
    assert [answer[2] for answer in in_docker] == expected[name]
