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

from xcore.plugin.asgi import ASGIApp, Message
from xcore.plugin.contract import Context, Plugin
from xcore.plugin.host import Host


class Reply(NamedTuple):
    """What came back: JSON is decoded, any other body is bytes."""

    status: int
    body: Any


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
        """Ask any path of the host, such as `/ready`."""
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": path,
            "root_path": "",
            "query_string": query.encode("latin-1"),
            "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()],
        }
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.host(scope, receive, send)
        start, *rest = sent
        self.headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in start["headers"]}
        content = b"".join(message["body"] for message in rest)
        is_json = content and self.headers.get("content-type", "").partition(";")[0].endswith("json")
        return Reply(start["status"], msgspec.json.decode(content) if is_json else content)


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
