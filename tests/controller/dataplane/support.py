"""A real front on loopback, upstreams that say exactly what a test wants, and a client that hears every byte."""

import asyncio
import contextlib
import functools
import hashlib
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from controller.dataplane.plane import DataPlane
from controller.dataplane.protocol import DataPlaneProtocol
from controller.dataplane.proxies import Proxies
from integrations.gate import Gate
from integrations.grants import Grant, Role
from tests.support import document, until
from xcore.endpoint import AsgiEndpoint, UnixEndpoint
from xcore.manifest import from_dict
from xcore.routes import Route, RouteTable

KEY = b"the-key"
ADMIN = Grant("admin", Role.ADMIN, hashlib.sha256(KEY).digest())
SECONDS = 10.0


@dataclass
class Message:
    """A request or an answer as it was on the wire: names in lower case."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes
    interim: list[int] = field(default_factory=list)

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    def all(self, name):
        return [value for key, value in self.headers if key == name]

    def __getitem__(self, name):
        (value,) = self.all(name)
        return value


async def read_head(reader):
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
    fields = [line.partition(":")[::2] for line in head[1:]]
    return Message(head[0], [(name.lower(), value.strip()) for name, value in fields], b"")


async def read_body(reader, message, *, to_the_end):
    if message.all("transfer-encoding"):
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        while (await reader.readline()).strip():
            pass
        return body
    if lengths := message.all("content-length"):
        return await reader.readexactly(int(lengths[0]))
    return await reader.read() if to_the_end else b""


class Client:
    """One connection to the front."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, data):
        self.writer.write(data)

    async def answer(self, *, head=False):
        """The next answer; `head`: it is one to HEAD."""
        async with asyncio.timeout(SECONDS):
            interim = []
            while True:
                message = await read_head(self.reader)
                if message.status >= 200:
                    break
                interim.append(message.status)
            message.interim = interim
            if not head and message.status not in {204, 304}:
                message.body = await read_body(self.reader, message, to_the_end=True)
            return message

    async def ask(self, data, **how):
        self.send(data)
        return await self.answer(**how)

    async def rest(self):
        """What comes until the front ends the connection."""
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionResetError):
                return await self.reader.read()
            return b""

    def leave(self):
        self.writer.transport.abort()


class Visit:
    """One connection at an upstream."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def request(self):
        message = await read_head(self.reader)
        message.body = await read_body(self.reader, message, to_the_end=False)
        return message

    def send(self, data):
        self.writer.write(data)

    def cut(self):
        self.writer.transport.abort()


def ok(body=b"ok", *, extra=b"", status=b"200 OK"):
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), extra, body)


async def obliging(visit, upstream):
    """Answer every request with 200."""
    while True:
        upstream.journal.append(await visit.request())
        visit.send(ok())


def canned(data, *, then_close=False):
    """A script: answer every request with these bytes."""

    async def script(visit, upstream):
        while True:
            upstream.journal.append(await visit.request())
            visit.send(data)
            if then_close:
                await visit.writer.drain()
                return

    return script


class Upstream:
    """A unix-socket server in a directory of its own. `script(visit, upstream)` speaks on each connection."""

    def __init__(self, script=obliging):
        self._directory = tempfile.TemporaryDirectory(prefix="xcore-dp-")
        self.directory = Path(self._directory.name)
        self.script = script
        self.journal = []
        self.visits = []
        self.open = 0
        self.belongs = lambda pid: True
        self._tasks = set()

    async def start(self):
        self._server = await asyncio.start_unix_server(self._visited, self.directory / "p.sock", backlog=1024)

    async def _visited(self, reader, writer):
        visit = Visit(reader, writer)
        self.visits.append(visit)
        self.open += 1
        self._tasks.add(asyncio.current_task())
        try:
            await self.script(visit, self)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(asyncio.current_task())
            writer.close()
            self.open -= 1

    async def stop(self):
        """Gone at once, as by SIGKILL: nobody listens, connections end."""
        self._server.close()
        (self.directory / "p.sock").unlink(missing_ok=True)
        for task in list(self._tasks):
            task.cancel()
        for visit in self.visits:
            visit.cut()
        await until(lambda: not self._tasks)

    async def aclose(self):
        await self.stop()
        self._directory.cleanup()

    @property
    def endpoint(self):
        return UnixEndpoint(self.directory, self._belongs)

    def _belongs(self, pid):
        return self.belongs(pid)


class Front:
    """uvicorn with the data plane, a route table, and whatever a test puts into it."""

    def __init__(self, *, auth=False, app=None, keep_alive=5, granted=(), proxies=()):
        self.suspected = []
        self.routes = RouteTable(self.suspected.append)
        self.plane = DataPlane(self.routes, Gate(ADMIN) if auth else None, granted=frozenset(granted))
        self.plane.proxies = Proxies(proxies)
        self.targets = []
        self.asgi = []
        self._instances = 0
        self._stack = contextlib.AsyncExitStack()
        self._clients = []
        self.config = uvicorn.Config(
            app or self._app,
            http=functools.partial(DataPlaneProtocol, self.plane),
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive,
            timeout_graceful_shutdown=5,
        )

    async def _app(self, scope, receive, send):
        """Stands for the control plane."""
        self.asgi.append(scope)
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        answer = b"control plane " + body
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def __aenter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = self._listener.getsockname()[1]
        self.config.load()
        self.server = uvicorn.Server(self.config)
        self.server.lifespan = self.config.lifespan_class(self.config)
        await self.server.startup(sockets=[self._listener])
        await self.server.on_tick(0)
        self.plane.start()
        return self

    async def __aexit__(self, *exc):
        for client in self._clients:
            client.leave()
        for server in self.server.servers:
            server.close()
        while self.connections:
            for connection in list(self.server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
        self.plane.close()
        await self._stack.aclose()
        if exc == (None, None, None):
            self.assert_nothing_left()

    async def shut_down(self):
        """Leave as the controller does."""
        self.plane.draining = self.server.should_exit = True
        await self.server.shutdown(sockets=[self._listener])

    def assert_nothing_left(self):
        assert not self.plane.active
        assert [pool.busy for pool in self.plane.pools] == [0] * len(self.plane.pools)
        assert [target.inflight for target in self.targets] == [0] * len(self.targets)
        for bulkhead in self.plane.bulkheads.values():
            assert (bulkhead.active, bulkhead.waiting) == (0, 0)
        assert not any(way.held for way in self.plane.ways.values())

    # -- what a test puts in ------------------------------------------------------------------------------------

    async def upstream(self, script=obliging, /, name="hello", *, put=True, **spec):
        """A plugin behind a unix socket."""
        upstream = Upstream(script)
        await upstream.start()
        self._stack.push_async_callback(upstream.aclose)
        if put:
            self.put(upstream.endpoint, name, **spec)
        return upstream

    def trusted(self, app, name="hello", **spec):
        async def probe(path):
            return 200, b""

        return self.put(AsgiEndpoint(app, probe), name, **spec)

    def put(self, endpoint, name="hello", *, hold=False, **spec):
        """Route a plugin to a new instance; without an endpoint to none."""
        target = None
        if endpoint is not None:
            self._instances += 1
            target = self.routes.target(name, f"{name}-{self._instances}", endpoint)
            self.targets.append(target)
        self.route([target] if target else [], name, hold=hold, **spec)
        return target

    def route(self, targets, name="hello", *, hold=False, **spec):
        self.routes.put(Route(name, from_dict(document(name, **spec)), tuple(targets), hold=hold))

    async def client(self):
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=2**25))
        self._clients.append(client)
        return client

    async def ask(self, data, **how):
        """One request on a connection of its own."""
        client = await self.client()
        return await client.ask(data, **how)

    @property
    def connections(self):
        return len(self.server.server_state.connections)


def request(method="GET", target="/app/hello/greet", *headers, body=None, chunked=None, version="1.1"):
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers]
    data = b""
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
        data = body
    if chunked is not None:
        lines.append("Transfer-Encoding: chunked")
        data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunked) + b"0\r\n\r\n"
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + data
