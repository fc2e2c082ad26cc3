"""What a person sees at start: where it listens, the admin key once, and a command that works as printed."""

from __future__ import annotations

import asyncio
import contextlib

from xcore.manager import Manager
from xcore.routes import RouteTable

SECONDS = 60.0
_EXAMPLE = ("hello", "greet", '{"name": "Ada"}')


class Banner:
    """`key` is the admin key when it was made just now: it is shown this once and stored nowhere."""

    def __init__(self, address: tuple[str, int], key: str | None, *, authenticated: bool) -> None:
        self._url = (
            f"http://{address[0]}:{address[1]}"
            if ":" not in address[0]
            else f"http://[{address[0]}]:{address[1]}"
        )
        self._key, self._authenticated = key, authenticated

    async def announce(self, manager: Manager, routes: RouteTable) -> None:
        """Print the address and key at once, and an example as soon as a plugin can answer it."""
        print(f"\nxcore listens on {self._url}", flush=True)
        if self._key is not None:
            print(f"admin key (shown once, keep it): {self._key}", flush=True)
        elif self._authenticated:
            print("authenticate with the admin key shown at the first start, in XCORE_KEY below", flush=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                await self._example_ready(manager, routes)
        print(f"\ntry it:\n\n  {self._curl(routes)}\n", flush=True)

    @staticmethod
    async def _example_ready(manager: Manager, routes: RouteTable) -> None:
        changed = asyncio.Event()
        routes.listen(lambda _: changed.set())
        while not manager.synced or not any(
            route.target
            for route in routes
            if route.plugin == _EXAMPLE[0] or _EXAMPLE[0] not in manager.names()
        ):
            changed.clear()
            await changed.wait()

    def _curl(self, routes: RouteTable) -> str:
        name, action, body = _EXAMPLE
        route = routes.get(name)
        key = self._key or "$XCORE_KEY"
        authorization = f' -H "Authorization: Bearer {key}"' if self._authenticated else ""
        if route is None or route.target is None:
            return f"curl -s{authorization} {self._url}/api/v1/plugins"
        return f"curl -s{authorization} {self._url}/app/{name}/{action} -d '{body}'"
