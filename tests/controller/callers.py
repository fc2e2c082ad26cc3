"""Two plugins, one of which calls the other, and what has to come of it wherever either of them runs."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from tests.harness import Controller, until

SHOP = """
    import asyncio
    import os
    from dataclasses import asdict, dataclass
    from pathlib import Path
    from typing import Any

    from xcore.plugin import CallFailed, Plugin, action

    @dataclass
    class Left:
        sku: str
        left: int
        caller: str

    class Shop(Plugin):
        async def startup(self) -> None:
            self.watching = asyncio.create_task(self.watch())
            self.seen = 0

        async def watch(self) -> None:
            while True:
                try:
                    self.seen = (await self.context.call("stock", "take", sku="watched"))["left"]
                except CallFailed:
                    await asyncio.sleep(0.05)
                else:
                    return

        @action
        async def watched(self) -> int:
            return self.seen

        @action
        async def buy(self, sku: str) -> Left:
            return await self.context.call("stock", "take", returns=Left, sku=sku)

        @action
        async def buy_later(self, sku: str) -> Left:
            await asyncio.sleep(1)
            return await self.buy(sku)

        @action
        def buy_in_a_thread(self, sku: str) -> Left:
            return asyncio.run(self.context.call("stock", "take", returns=Left, sku=sku))

        @action
        async def upload(self, data: bytes) -> bytes:
            return await self.context.call("stock", "reverse", data, twice=True)

        @action
        async def listed(self) -> list[int]:
            return await self.context.call("stock", "count", to=3)

        @action
        async def told(self, plugin: str, name: str) -> dict[str, Any]:
            try:
                return {"result": await self.context.call(plugin, name)}
            except CallFailed as failed:
                return {"status": failed.status, "reason": failed.reason, "answered": failed.answered}

        @action
        async def uncaught(self) -> None:
            await self.context.call("stock", "fails")

        @action
        async def surroundings(self) -> dict[str, Any]:
            directory = os.environ.get("PLUGIN_CALLS", "")
            return {"directory": directory, "uid": os.getuid(), "found": sorted(os.listdir(directory or "/tmp"))}
"""
FRONT = """
    import asyncio
    import os
    from pathlib import Path

    CALLS = Path(os.environ["PLUGIN_CALLS"])

    async def ask(belongs: bytes) -> bytes:
        # What any HTTP client would send, in whatever language.
        reader, writer = await asyncio.open_unix_connection(str(CALLS / "c.sock"))
        token = (CALLS / "token").read_bytes()
        body = b'{"sku": "apple"}'
        writer.write(b"POST /app/stock/take HTTP/1.1\\r\\nhost: xcore\\r\\nconnection: close\\r\\n")
        writer.write(b"authorization: Bearer " + token + b"\\r\\nxcore-call: " + belongs + b"\\r\\n")
        writer.write(b"content-length: %d\\r\\n\\r\\n" % len(body) + body)
        answer = await reader.read()
        writer.close()
        return answer

    async def app(scope, receive, send):
        assert scope["type"] == "http", "no lifespan"
        answer = await ask(dict(scope["headers"])[b"xcore-call"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})
"""
STOCK = """
    from collections.abc import AsyncIterator
    from typing import Any

    from xcore.plugin import CallFailed, Plugin, Response, action

    class Stock(Plugin):
        @action
        async def take(self, sku: str) -> dict[str, Any]:
            return {"sku": sku, "left": 3, "caller": self.context.caller}

        @action
        async def reverse(self, data: bytes, twice: bool = False) -> bytes:
            return data if twice else data[::-1]

        @action
        async def count(self, to: int) -> AsyncIterator[int]:
            for number in range(to):
                yield number

        @action
        async def fails(self) -> None:
            raise LookupError("out of stock")

        @action
        async def refuses(self) -> Response:
            return Response("no", "text/plain", 409)

        @action
        async def back(self) -> Any:
            try:
                return await self.context.call("shop", "buy", sku="a")
            except CallFailed as failed:
                return failed.reason
"""
TOLD: list[tuple[str, str, dict[str, Any]]] = [
    ("stock", "fails", {"status": 500, "reason": "ActionFailed", "answered": True}),
    ("stock", "refuses", {"status": 409, "reason": "", "answered": True}),
    ("stock", "nothing", {"status": 404, "reason": "ActionNotFound", "answered": True}),
    ("stock", "take", {"status": 422, "reason": "InvalidArguments", "answered": True}),
    ("stock", "back", {"result": "CallLoop"}),
    ("absent", "act", {"status": 404, "reason": "PluginNotFound", "answered": False}),
    ("ungranted", "act", {"status": 403, "reason": "Forbidden", "answered": False}),
    ("unnamed", "act", {"status": 403, "reason": "Forbidden", "answered": False}),
    ("shop", "buy", {"status": 403, "reason": "Forbidden", "answered": False}),
]
GRANTED = "shop:stock,stock:shop,shop:absent,shop:unnamed"
LEFT = {"sku": "apple", "left": 3, "caller": "shop"}


def write(plugins: Path, name: str, code: str, entry: str, **spec: Any) -> None:
    folder = plugins / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(textwrap.dedent(code))
    document = {"apiVersion": "xcore.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": name}}
    (folder / "plugin.yaml").write_text(
        json.dumps({**document, "spec": {"entrypoint": f"main:{entry}", **spec}})
    )


def write_both(
    plugins: Path,
    *,
    shop: str = "Sandboxed",
    stock: str = "Sandboxed",
    calls: tuple[str, ...] = ("stock", "absent", "ungranted"),
) -> None:
    write(plugins, "shop", SHOP, "Shop", calls=calls, isolation=shop)
    write(plugins, "stock", STOCK, "Stock", calls=["shop"], isolation=stock)


def check(controller: Controller) -> None:
    """Hold a controller that runs both against what is promised."""
    for name in ("shop", "stock"):
        controller.wait_ready(name)
    for action in ("buy", "buy_in_a_thread"):
        bought = controller.call("shop", action, {"sku": "apple"})
        assert (bought.status, bought.json) == (200, LEFT)
    assert controller.call("stock", "take", {"sku": "apple"}).json == {**LEFT, "caller": ""}
    assert controller.request("POST", "/app/shop/upload", content=b"abc").content == b"abc"
    assert controller.call("shop", "listed").json == [0, 1, 2]
    for plugin, name, expected in TOLD:
        told = controller.call("shop", "told", {"plugin": plugin, "name": name})
        assert (plugin, name, told.json) == (plugin, name, expected)
    assert controller.call("shop", "uncaught").status == 500
    until(lambda: controller.call("shop", "watched").json == 3, 10, "a call from a task of its own")
    controller.request("POST", "/api/v1/plugins/stock/suspend")
    suspended = controller.call("shop", "told", {"plugin": "stock", "name": "take"}).json
    assert suspended == {"status": 503, "reason": "PluginNotReady", "answered": False}
    controller.request("POST", "/api/v1/plugins/stock/resume")
    until(lambda: controller.call("shop", "buy", {"sku": "apple"}).status == 200, 20, "stock being back")
