"""For the tests of a plugin's author: the plugin as it is served, without a socket.

async with serve(Hello, config={"greeting": "Hi"}) as client:
    status, body = await client.call("greet", name="Ada")
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from xcore.plugin.asgi import ASGIApp, Message, Receive
from xcore.plugin.contract import Context, Plugin
from xcore.plugin.host import Host


class Reply(NamedTuple):
    """What came back: JSON is decoded, any other body is bytes."""

    status: int
    body: Any


class Cut(ConnectionError):
    """An answer that failed midway, as a client sees it: `reply` is what has come of it, or the problem it ends with."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"the answer was cut after {reply!r}")
        self.reply = reply


class Client:
    """Calls a hosted plugin; whatever the plugin does, the reply is one a caller could get."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.headers: dict[str, str] = {}
        """The headers of the last answer."""

    async def call(self, action: str, body: bytes | None = None, /, **arguments: Any) -> Reply:
        """POST: `arguments` as a JSON object, or as the query beside a raw `body`."""
        if body is None:
            return await self.request("POST", action, body=msgspec.json.encode(arguments))
        return await self.request("POST", action, query=_query(arguments), body=body)

    async def get(self, action: str, /, **arguments: Any) -> Reply:
        """GET: for actions with `safe=True`."""
        return await self.request("GET", action, query=_query(arguments))

    async def request(
        self, method: str, action: str, *, query: str = "", body: bytes = b"", headers: Mapping[str, str] = {}
    ) -> Reply:
        """Send a request as it is, right or wrong."""
        return await self.fetch(f"{self.host.root_path}/{action}", method, query, body=body, headers=headers)

    async def fetch(
        self,
        path: str,
        method: str = "GET",
        query: str = "",
        *,
        body: bytes = b"",
        headers: Mapping[str, str] = {},
    ) -> Reply:
        """Ask any path of the host, such as `/ready`; raises Cut where an answer breaks off."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await self.host(_scope(method, path, query, headers), _giving(body), send)
        start, *rest = sent
        self.headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in start["headers"]}
        content = b"".join(message["body"] for message in rest)
        reply = Reply(start["status"], _decoded(content, self.headers.get("content-type", "")))
        if not rest or rest[-1].get("more_body", False):
            raise Cut(reply)
        return reply

    @contextlib.asynccontextmanager
    async def stream(self, action: str, /, **arguments: Any) -> AsyncIterator[AsyncIterator[Any]]:
        """POST to an action that yields JSON, and read its items one by one; leaving the block leaves the stream.

        The plugin is not asked for the item after the next before this one is taken. Raises Cut where the stream
        fails.
        """
        pieces: asyncio.Queue[Message | None] = asyncio.Queue(1)
        scope = _scope("POST", f"{self.host.root_path}/{action}", "", {})

        left = False

        async def send(message: Message | None) -> None:
            if not left:
                await pieces.put(message)

        async def run() -> None:
            await self.host(scope, _giving(msgspec.json.encode(arguments)), send)
            await send(None)

        running = asyncio.create_task(run())
        try:
            yield _items(pieces)
        finally:
            left = True
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _items(pieces: asyncio.Queue[Message | None]) -> AsyncIterator[Any]:
    status = 0
    while (message := await pieces.get()) is not None:
        if message["type"] == "http.response.start":
            status = message["status"]
        elif status != 200:
            raise Cut(Reply(status, msgspec.json.decode(message["body"])))
        elif not message.get("more_body", False):
            return
        else:
            item = msgspec.json.decode(message["body"])
            if isinstance(item, dict) and item.keys() == {"error"}:
                raise Cut(Reply(status, item["error"]))
            yield item
    raise Cut(Reply(status, None))


def _scope(method: str, path: str, query: str, headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "root_path": "",
        "query_string": query.encode("latin-1"),
        "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()],
    }


def _giving(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _decoded(content: bytes, content_type: str) -> Any:
    media = content_type.partition(";")[0]
    if media.endswith("ndjson"):
        return msgspec.json.Decoder().decode_lines(content)
    return msgspec.json.decode(content) if content and media.endswith("json") else content


@contextlib.asynccontextmanager
async def serve(
    plugin: type[Plugin] | ASGIApp,
    *,
    name: str = "plugin",
    version: str = "",
    config: Mapping[str, Any] = {},
    secrets: Mapping[str, str] = {},
) -> AsyncIterator[Client]:
    """Host a plugin, a class or an ASGI application, for the length of a block: start-up before, shutdown after."""
    host = Host(plugin, Context(name, version, config, secrets))
    await host.start()
    try:
        yield Client(host)
    finally:
        await asyncio.shield(host.stop())


def _query(arguments: Mapping[str, Any]) -> str:
    """Booleans as JSON has them, lists as repeated parameters, None left out."""
    given = {name: value for name, value in arguments.items() if value is not None}
    return urlencode({name: _text(value) for name, value in given.items()}, doseq=True)


def _text(value: Any) -> Any:
    if isinstance(value, list | tuple | set):
        return [_text(one) for one in value]
    return str(value).lower() if isinstance(value, bool) else str(value)
