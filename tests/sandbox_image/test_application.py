"""ASGI applications inside a sandbox's runner, over its socket: libraries as they are, WebSockets, and bad manners."""

import json
import socket
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import unix_connect

from tests.sandbox_image.child import Connection

FASTAPI = Path(__file__).parents[1] / "applications" / "fastapi" / "main.py"
RAW = """
async def app(scope, receive, send):
    assert scope["type"] != "lifespan"
"""


@pytest.fixture
def fastapi(start):
    return start(FASTAPI.read_text("utf-8"), entrypoint="main:app").ready()


def websocket(runner, path="/app/p/echo", **options):
    return unix_connect(str(runner.socket), f"ws://sandbox{path}", **options)


def test_a_fastapi_application_is_served_below_its_prefix(fastapi):
    """Its own routes, links, redirects and documentation; its lifespan has run, its background tasks run."""
    status, content = fastapi.ask("GET", "/app/p/")
    assert (status, json.loads(content)["here"]) == (200, "http://sandbox/app/p/")
    assert json.loads(content)["state"] == ["by the lifespan"]
    assert fastapi.ask("GET", "/app/p/items/3")[0] == 200
    assert fastapi.ask("GET", "/app/p/items/three")[0] == 422
    assert b"/app/p/openapi.json" in fastapi.ask("GET", "/app/p/docs")[1]
    assert json.loads(fastapi.ask("GET", "/app/p/openapi.json")[1])["servers"] == [{"url": "/app/p"}]
    assert fastapi.ask("POST", "/app/p/later") == (200, b'"soon"')
    fastapi.said("in the background")
    fastapi.said("opened")
    assert fastapi.stop() == 0
    fastapi.said("closed")


def test_a_websocket_is_the_applications(fastapi):
    """Subprotocol, messages both ways, its close code and reason; a failure is 1011, an unknown path 403."""
    with websocket(fastapi, subprotocols=["one", "two"]) as client:
        assert client.subprotocol == "one"
        client.send("hello")
        assert client.recv(10) == "hello"
        client.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")
    with websocket(fastapi) as client:
        client.send("fail")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)
    assert closed.value.rcvd.code == 1011
    fastapi.said("LookupError: in a websocket")
    with pytest.raises(InvalidStatus) as refused, websocket(fastapi, "/app/p/nowhere"):
        pass
    assert refused.value.response.status_code == 403


def test_a_client_that_closes_its_websocket_is_heard(fastapi):
    """With its code."""
    with websocket(fastapi) as client:
        client.close(4002)
    fastapi.said("left with 4002")


def test_a_message_over_a_mebibyte_closes_its_websocket(fastapi):
    """1009, and the sandbox serves on."""
    with websocket(fastapi, max_size=None) as client:
        client.send("x" * 2**20)
        assert len(client.recv(10)) == 2**20
        client.send("x" * (2**20 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)
    assert closed.value.rcvd.code == 1009
    assert fastapi.ask("GET", "/app/p/items/1")[0] == 200


def test_a_websocket_to_an_action_is_refused_and_loads_nothing(start):
    """400 with a sentence; a plugin of actions never pays for the library."""
    runner = start(
        """
        import sys

        class P(Plugin):
            @action(safe=True)
            def loaded(self) -> bool:
                return "websockets" in sys.modules
        """
    ).ready()
    with pytest.raises(InvalidStatus) as refused, websocket(runner, "/app/p/loaded"):
        pass
    assert refused.value.response.status_code == 400
    assert b"no WebSocket" in refused.value.response.body
    assert runner.ask("GET", "/app/p/loaded") == (200, b"false")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            """
            async def app(scope, receive, send):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "no database"})
            """,
            "StartupFailed: no database",
        ),
        (
            """
            async def app(scope, receive, send):
                await send({"type": "http.response.start", "status": 200})
            """,
            "BadLifespan: the application sent 'http.response.start' in its lifespan; expected: lifespan.startup",
        ),
        ("app = dict()", "TypeError: main:app is an object of dict: neither a class derived from"),
        ("def app(): ...", "TypeError: main:app is the function app (an application that a function makes"),
        ("import app_that_is_missing", "ModuleNotFoundError: No module named 'app_that_is_missing'"),
    ],
)
def test_an_application_that_cannot_start_ends_its_sandbox_with_the_reason(start, source, said):
    """Exit code 70, the reason in the log's last line."""
    runner = start(source, entrypoint="main:app")
    assert runner.wait() == 70
    assert said in runner.lines[-1]


def test_an_application_whose_start_never_ends_can_be_stopped(start):
    """It is not started, its probes say so, and SIGTERM ends it."""
    runner = start(
        """
        import asyncio
        async def app(scope, receive, send):
            print("waiting")
            await asyncio.Event().wait()
        """,
        entrypoint="main:app",
    )
    runner.said("waiting")
    while runner.ask("GET", "/startup")[0] == 0:
        pass
    assert runner.ask("GET", "/startup") == (503, b"starting\n")
    assert runner.stop() == 0


def test_an_answer_that_breaks_off_is_cut(start):
    """A client sees that it is not whole, and one line of ours says it, not two."""
    runner = start(
        RAW
        + """
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise LookupError("midway")
""",
        entrypoint="main:app",
    ).ready()
    connection = Connection(runner.socket)
    connection.request("GET", "/app/p/")
    with pytest.raises(Exception, match="IncompleteRead"):
        connection.getresponse().read()
    connection.close()
    assert runner.stop() == 0
    assert sum("LookupError: midway" in line for line in runner.lines) == 1
    assert not any("without completing" in line for line in runner.lines)


def test_a_client_that_leaves_is_heard_by_the_application(start):
    """`http.disconnect` comes while the answer is under way."""
    runner = start(
        RAW
        + """
    await receive()
    print("asked")
    print("heard", (await receive())["type"])
""",
        entrypoint="main:app",
    ).ready()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(runner.socket))
        client.sendall(b"GET /app/p/ HTTP/1.1\r\nHost: x\r\n\r\n")
        runner.said("asked")
    runner.said("heard http.disconnect")
