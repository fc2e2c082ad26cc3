"""The pipe to a trusted plugin: a WebSocket in it is one, and slow readers hold its writer up."""

import asyncio

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.uri import parse_uri

from controller.dataplane.inprocess import dial_app
from tests.applications.fastapi.main import app
from xcore.plugin import Plugin
from xcore.plugin.contract import Context
from xcore.plugin.host import Host


class Client(asyncio.Protocol):
    """The near end of the pipe, speaking WebSocket."""

    def __init__(self, path):
        self.speech = ClientProtocol(parse_uri(f"ws://sandbox{path}"))
        self.events: asyncio.Queue = asyncio.Queue()
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.speech.send_request(self.speech.connect())
        self.flush()

    def data_received(self, data):
        self.speech.receive_data(data)
        for event in self.speech.events_received():
            self.events.put_nowait(event)

    def connection_lost(self, exc):
        self.speech.receive_eof()
        for event in self.speech.events_received():
            self.events.put_nowait(event)
        self.events.put_nowait(None)

    def flush(self):
        for data in self.speech.data_to_send():
            if data:
                self.transport.write(data)

    def say(self, text):
        self.speech.send_text(text.encode())
        self.flush()

    async def hear(self):
        async with asyncio.timeout(10):
            return await self.events.get()


@pytest.fixture
async def connect():
    hosts = []

    async def make(hosted, path):
        host = Host(hosted, Context("p"))
        await host.start()
        hosts.append(host)
        client = Client(path)
        await dial_app(host)(lambda: client)
        return client

    yield make
    for host in hosts:
        await host.stop()


async def test_a_trusted_application_speaks_websocket(connect):
    """Handshake, messages both ways, and its own close code."""
    client = await connect(app, "/app/p/echo")
    assert (await client.hear()).status_code == 101
    client.say("hello")
    assert (await client.hear()).data == b"hello"
    client.say("bye")
    closing = await client.hear()
    assert (closing.opcode, closing.data) == (Opcode.CLOSE, (4001).to_bytes(2, "big") + b"as you wish")
    client.flush()
    assert await client.hear() is None


async def test_a_websocket_to_a_trusted_plugins_action_is_refused(connect):
    """As it is in a sandbox."""
    client = await connect(Plugin, "/app/p/x")
    response = await client.hear()
    assert response.status_code == 400
    assert b"no WebSocket" in response.body


async def test_a_trusted_application_hears_that_its_websocket_is_lost(connect):
    """When the pipe ends, so does the application's part."""
    heard = asyncio.Event()

    async def application(scope, receive, send):
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        heard.set()

    client = await connect(application, "/app/p/x")
    assert (await client.hear()).status_code == 101
    client.transport.abort()
    async with asyncio.timeout(10):
        await heard.wait()
