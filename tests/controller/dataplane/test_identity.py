"""One plugin, two substrates: nobody can tell from the answers whether it runs in this process or behind a socket."""

import asyncio
import contextlib
import logging
import re

import pytest
import uvicorn

from tests.controller.dataplane.support import Upstream, request
from tests.support import until
from xcore.plugin import Plugin, Response, action
from xcore.plugin.contract import Context
from xcore.plugin.host import Host


class Sample(Plugin):
    @action
    async def greet(self, name: str = "world") -> str:
        return f"Hello {name}"

    @action(safe=True)
    async def add(self, a: int, b: int = 1) -> int:
        return a + b

    @action
    def sync(self, size: int) -> bytes:
        return b"x" * size

    @action
    async def echo(self, body: bytes) -> bytes:
        return body

    @action
    async def broken(self) -> str:
        raise RuntimeError("secret detail")

    @action
    async def teapot(self) -> Response:
        return Response(
            "short", "text/plain", 418, {"X-Tea": "1", "Set-Cookie": "a=b", "Xcore-Reason": "Forged"}
        )

    @action
    async def split(self) -> Response:
        return Response("a", "text/plain", 200, {"x-tea": "a\r\nset-cookie: b"})

    @action
    async def doubled(self) -> Response:
        return Response("abc", "text/plain", 200, {"content-length": "1"})

    @action
    async def gone(self) -> Response:
        return Response("", "text/plain", 204)


def table():
    def post(action, body=b"{}", *headers):
        return request("POST", f"/app/sample/{action}", *headers, body=body)

    return {
        "good": post("greet", b'{"name": "Ada"}'),
        "no body": request("POST", "/app/sample/greet"),
        "chunked": request("POST", "/app/sample/greet", chunked=[b'{"name"', b': "Ada"}']),
        "bad arguments": post("greet", b'{"name": 7}'),
        "unknown argument": post("greet", b'{"nome": "x"}'),
        "missing argument": post("sync"),
        "invalid JSON": post("greet", b"{"),
        "unknown action": post("nothing"),
        "deep path": post("greet/more"),
        "encoded name": post("%67reet"),
        "raised": post("broken"),
        "sync bytes": post("sync", b'{"size": 300000}'),
        "bytes": post("echo", bytes(range(256)) * 1000, "Content-Type: application/octet-stream"),
        "safe GET": request("GET", "/app/sample/add?a=2&b=3"),
        "safe GET, bad": request("GET", "/app/sample/add?a=x"),
        "HEAD": request("HEAD", "/app/sample/add?a=2"),
        "HEAD of the list": request("HEAD", "/app/sample"),
        "list": request("GET", "/app/sample"),
        "405": request("GET", "/app/sample/greet"),
        "DELETE": request("DELETE", "/app/sample/add"),
        "headers": post("teapot"),
        "header injection": post("split"),
        "two lengths": post("doubled"),
        "204": post("gone"),
        "HTTP/1.0": request("POST", "/app/sample/greet", version="1.0", body=b"{}"),
        "closing": post("greet", b"{}", "Connection: close"),
    }


@contextlib.asynccontextmanager
async def both(front):
    """The same plugin at `sample` in this process, and behind a socket; yields a function that swaps them."""
    context = Context("sample", "1.0.0", {}, {}, logging.getLogger("plugin.sample"))
    host = Host(Sample, context)
    await host.start()
    place = Upstream()
    config = uvicorn.Config(
        host,
        uds=str(place.directory / "p.sock"),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=90,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()

    def swap(where):
        if where == "here":
            front.trusted(host, "sample")
        else:
            front.put(place.endpoint, "sample")

    try:
        yield swap
    finally:
        for listener in server.servers:
            listener.close()
        await host.stop()
        place._directory.cleanup()


def comparable(raw):
    raw = re.sub(rb"date: [^\r]*", b"date: *", raw)
    return re.sub(rb'(x-request-id: |"requestId":"|"requestId": ")[0-9a-f]{16}', rb"\1*", raw)


@pytest.mark.parametrize("which", table())
async def test_answers_do_not_differ_by_a_byte(front, which):
    """In this process or behind a socket, a plugin's answer is the same, errors and all."""
    async with both(front) as swap:
        answers = {}
        for where in ("here", "socket"):
            swap(where)
            answers[where] = comparable(await raw_answer(front, table()[which]))
        assert answers["here"] == answers["socket"]
        assert b"secret detail" not in answers["here"]
        assert b"set-cookie: a=b\r\n" not in answers["here"]
        assert b"Forged" not in answers["here"]


async def raw_answer(front, data):
    """Every byte of one answer: the connection is ended by a client that has said so."""
    client = await front.client()
    if b"Connection: close" not in data:
        data = data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    client.send(data)
    return await client.rest()


async def test_what_a_trusted_plugin_raises_outside_its_actions_is_its_own_answer(front, caplog):
    """An application that raises is answered for with 500, and the controller goes on."""

    async def app(scope, receive, send):
        raise RuntimeError("secret detail")

    front.trusted(app)
    client = await front.client()
    for _ in range(2):
        answer = await client.ask(request())
        assert (answer.status, b"secret" in answer.body) == (500, False)
    assert "Exception in ASGI application" in caplog.text


async def test_a_trusted_answer_that_breaks_off_is_cut(front, caplog):
    """An application that ends in the middle of its answer looks like a connection that broke, not like a whole answer."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})

    front.trusted(app)
    client = await front.client()
    client.send(request())
    assert (await client.rest()).endswith(b"abc")


async def test_a_trusted_call_ends_when_its_client_leaves(front):
    """A client that leaves ends the call it made, within a second."""
    running, ended = asyncio.Event(), asyncio.Event()

    class Endless(Plugin):
        @action
        async def x(self) -> None:
            running.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    front.trusted(Host(Endless, Context("hello")))
    client = await front.client()
    client.send(request("POST", "/app/hello/x", chunked=[b"{}"]))
    await running.wait()
    client.leave()
    async with asyncio.timeout(1):
        await ended.wait()


async def test_what_a_trusted_plugin_does_after_its_answer_is_left_alone(front):
    """Work in the background goes on when the answer is whole."""
    go, done = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        await go.wait()
        done.set()

    front.trusted(app)
    await front.ask(request("POST", "/app/hello/x", "Connection: close", chunked=[b"abc"]))
    go.set()
    async with asyncio.timeout(1):
        await done.wait()


async def test_a_trusted_plugin_feels_a_slow_client(front):
    """A trusted plugin that streams without end waits for a client that does not read."""
    sent = 0

    async def app(scope, receive, send):
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < 256 * 2**20:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            sent += 65536

    front.trusted(app)
    client = await front.client()
    client.reader._limit = 1024
    client.send(request())
    await until(lambda: any(exchange._client.write_paused for exchange in front.plane.active))
    before = -1
    while before != sent:
        before = sent
        for _ in range(50):
            await asyncio.sleep(0)
    assert sent < 32 * 2**20
