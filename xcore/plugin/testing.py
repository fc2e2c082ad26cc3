"""For the tests of a plugin's author: the plugin as it is served, without a socket.

async with serve(Hello, config={"greeting": "Hi"}) as client:
    status, body = await client.call("greet", name="Ada")
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from xcore.plugin.asgi import ASGIApp, Message, Receive
from xcore.plugin.calling import CALLER_HEADER, CallFailed, Reply as Answered, decoded, query as query_of
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
        return await self.request("POST", action, query=query_of(arguments), body=body)

    async def get(self, action: str, /, **arguments: Any) -> Reply:
        """GET: for actions with `safe=True`."""
        return await self.request("GET", action, query=query_of(arguments))

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
        answered = await self.answered(path, method, query, body=body, headers=headers)
        return Reply(answered.status, decoded(answered))

    async def answered(
        self, path: str, method: str, query: str, *, body: bytes, headers: Mapping[str, str]
    ) -> Answered:
        """Give the answer as it is; see `fetch`."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await self.host(_scope(method, path, query, headers), _giving(body), send)
        start, *rest = sent
        self.headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in start["headers"]}
        content = b"".join(message["body"] for message in rest)
        answered = Answered(start["status"], self.headers, content)
        if not rest or rest[-1].get("more_body", False):
            raise Cut(Reply(answered.status, decoded(answered)))
        return answered

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


@contextlib.asynccontextmanager
async def serve(  # noqa: PLR0913  all that a manifest tells
    plugin: type[Plugin] | ASGIApp,
    *,
    name: str = "plugin",
    version: str = "",
    config: Mapping[str, Any] = {},
    secrets: Mapping[str, str] = {},
    calls: Mapping[str, type[Plugin] | ASGIApp] = {},
) -> AsyncIterator[Client]:
    """Host a plugin, a class or an ASGI application, for the length of a block: start-up before, shutdown after.

    `calls`: the plugins it may call, by name, hosted beside it: the real ones, or small ones that stand for them.
    """
    others: dict[str, Client] = {}
    context = Context(name, version, config, secrets, calls=_Others(name, others))
    async with contextlib.AsyncExitStack() as stack:
        for other, code in calls.items():
            told = Context(other, calls=_Others(other, others))
            others[other] = await stack.enter_async_context(_hosted(Host(code, told)))
        yield await stack.enter_async_context(_hosted(Host(plugin, context)))


@contextlib.asynccontextmanager
async def _hosted(host: Host) -> AsyncIterator[Client]:
    await host.start()
    try:
        yield Client(host)
    finally:
        await asyncio.shield(host.stop())


class _Others:
    """The plugins one may call in a test. See `Calls`."""

    def __init__(self, caller: str, others: Mapping[str, Client]) -> None:
        self._caller, self._others = caller, others

    async def __call__(self, target: str, body: bytes, media_type: str) -> Answered:
        path, _, query = target.partition("?")
        plugin, _, action = map(unquote, path.partition("/"))
        if plugin not in self._others:
            raise CallFailed(
                404, "PluginNotFound", f"there is no plugin {plugin!r}: serve(…, calls=…) names them"
            )
        client = self._others[plugin]
        told = {"content-type": media_type, CALLER_HEADER.decode(): self._caller}
        try:
            return await client.answered(
                f"{client.host.root_path}/{action}", "POST", query, body=body, headers=told
            )
        except Cut as cut:
            raise CallFailed(502, "UpstreamUnreachable", str(cut)) from cut
