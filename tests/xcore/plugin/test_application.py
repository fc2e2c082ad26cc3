"""An ASGI application as a plugin: what it is told of a request, and what becomes of its mistakes."""

import asyncio

import msgspec
import pytest

from xcore.plugin import application
from xcore.plugin.asgi import GONE
from xcore.plugin.contract import Context
from xcore.plugin.host import Host
from xcore.plugin.testing import serve

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def body(content=b"", *, more=False):
    return {"type": "http.response.body", "body": content, "more_body": more}


def sending(*messages, error=None):
    """An application that sends these, whatever is asked, and then raises `error`."""

    async def app(scope, receive, send):
        assert scope["type"] != "lifespan", "no lifespan"
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return app


async def test_an_application_is_described_by_its_kind():
    """It has no actions, and its own root is its own affair."""
    async with serve(sending(START, body(b"mine")), name="p", version="2") as client:
        described = (await client.fetch("/describe")).body
        assert described == {"name": "p", "version": "2", "kind": "asgi", "actions": []}
        assert await client.fetch("/app/p") == (200, b"mine")
        assert await client.fetch("/app/p/a/b", "PATCH") == (200, b"mine")
        assert await client.fetch("/ready") == (200, b"ok\n")
        assert await client.fetch("/app/pp") == (404, b"not found\n")


async def test_an_application_is_told_where_it_is_and_who_called():
    """The path holds `root_path`; client and scheme are those of whoever asked the controller; state is a copy."""
    told = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            scope["state"]["n"] = 1
            await receive()
            await send({"type": "lifespan.startup.complete"})
            return
        told.append(scope)
        scope["state"]["n"] += 1
        await send(START)
        await send(body())

    async with serve(app, name="p") as client:
        forwarded = {"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https"}
        await client.fetch("/app/p/x", headers=forwarded)
        await client.fetch("/app/p/x")
    first, second = told
    assert (first["path"], first["root_path"]) == ("/app/p/x", "/app/p")
    assert (first["client"], first["scheme"], first["server"]) == (
        ("192.0.2.7", 0),
        "https",
        ("localhost", 80),
    )
    assert (second["client"], second["scheme"]) == (None, "http")
    assert (first["state"], second["state"]) == ({"n": 2}, {"n": 2})


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
)
async def test_what_an_application_raises_is_that_requests_answer(error, caplog):
    """500 with the reason and the request id; the traceback is in the logs."""
    async with serve(sending(error=error)) as client:
        status, problem = await client.request("GET", "x", headers={"x-request-id": "r1"})
    assert (status, problem["reason"], problem["requestId"]) == (500, "ActionFailed", "r1")
    (record,) = [record for record in caplog.records if record.getMessage() == "the application failed"]
    assert (record.exc_info[1], record.requestId) == (error, "r1")


@pytest.mark.parametrize(
    "start",
    [
        {"type": "http.response.start", "status": 999},
        {"type": "http.response.start", "status": "200"},
        {"type": "http.response.start"},
        {"type": "http.response.start", "status": 101},
        {**START, "headers": [("text", b"x")]},
        {**START, "headers": [(b"bad name", b"x")]},
        {**START, "headers": [(b"name", b"two\r\nlines")]},
        {**START, "headers": [(b"name", "text")]},
        {**START, "headers": [(b"name",)]},
        {**START, "headers": 3},
        {"status": 200},
        3,
    ],
)
async def test_an_answer_that_cannot_be_sent_is_a_failure_before_anything_is_sent(start):
    """The client is told, whatever nonsense the application sends first."""
    async with serve(sending(start, body())) as client:
        status, problem = await client.request("GET", "x")
    assert (status, problem["reason"]) == (500, "ActionFailed")


async def test_an_application_that_ends_without_an_answer_has_failed(caplog):
    """The client is told so, and the log."""
    async with serve(sending()) as client:
        status, problem = await client.request("GET", "x")
    assert (status, problem["detail"]) == (500, "the application ended without an answer")
    assert caplog.records[-1].getMessage() == "the application ended without a whole answer"


class Wire:
    """One request of a kind, and all the server is given for it."""

    def __init__(self, kind="http"):
        self.sent = []
        self.scope = {"type": kind, "method": "GET", "path": "/app/p/x", "headers": [], "scheme": "http"}
        self.gone = asyncio.Event()

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if self.gone.is_set():
            raise OSError("the connection is lost")
        self.sent.append(message)

    async def ask(self, app):
        host = Host(app, Context("p"))
        await host.start()
        await host(self.scope, self.receive, self.send)
        await host.stop()
        return [message["type"] for message in self.sent]


@pytest.mark.parametrize("error", [None, LookupError("midway")])
async def test_an_answer_that_breaks_off_is_left_unfinished(error):
    """Nothing is added to it: whoever serves the connection cuts it, and no client takes it for whole."""
    wire = Wire()
    assert await wire.ask(sending(START, body(b"a", more=True), error=error)) == [
        "http.response.start",
        "http.response.body",
    ]


async def test_what_fails_behind_a_whole_answer_is_only_logged(caplog):
    """A background task of the application's, say."""
    wire = Wire()
    assert len(await wire.ask(sending(START, body(b"a"), error=LookupError("later")))) == 2
    assert caplog.records[-1].getMessage() == "the application failed"


async def test_a_failure_to_write_to_nobody_is_nobodys_failure(caplog):
    """The client is gone: an application that stumbles over that has done nothing wrong."""
    wire = Wire()
    wire.gone.set()
    await wire.ask(sending(START))
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], ["websocket.http.response.start", "websocket.http.response.body"]),
        ([{"type": "websocket.accept"}], ["websocket.accept", "websocket.close"]),
        ([{"type": "websocket.close"}], ["websocket.close"]),
    ],
)
async def test_a_websocket_that_fails_is_refused_or_closed(messages, expected):
    """Before it is accepted with 500 and a problem, afterwards with code 1011, and not at all when it is closed."""
    wire = Wire("websocket")
    assert await wire.ask(sending(*messages, error=LookupError("no"))) == expected
    if wire.sent[-1]["type"] == "websocket.http.response.body":
        assert wire.sent[0]["status"] == 500
        assert msgspec.json.decode(wire.sent[-1]["body"])["reason"] == "ActionFailed"
    elif messages == [{"type": "websocket.accept"}]:
        assert wire.sent[-1]["code"] == 1011


async def test_an_application_that_does_not_notice_that_its_client_left_is_cancelled(monkeypatch):
    """It hears `http.disconnect`, has some seconds, and no more."""
    monkeypatch.setattr(application, "LEAVING_SECONDS", 0.0)
    heard, ended = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        assert (await receive())["type"] == "http.disconnect"
        heard.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    wire = Wire()
    asking = asyncio.create_task(wire.ask(app))
    while GONE not in wire.scope:
        await asyncio.sleep(0)
    wire.gone.set()
    await heard.wait()
    wire.scope[GONE]()
    await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await asking
