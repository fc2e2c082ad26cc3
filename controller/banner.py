"""What a person sees at start: where it listens, the admin key once, and a command that works as printed."""

from __future__ import annotations

import asyncio
import contextlib

from integrations.keys import FILE
from xcore.manager import Manager
from xcore.routes import RouteTable
from xcore.xhooks import StatusChanged

SECONDS = 60.0
LOST = f"remove {FILE} from the state directory and start again"
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
            print(f"the admin key was shown when it was made; lost it? {LOST}", flush=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                await self._example_ready(manager, routes)
        print(f"\ntry it:\n\n  {self._curl(routes)}\n", flush=True)

    @staticmethod
    async def _example_ready(manager: Manager, routes: RouteTable) -> None:
        with manager.bus.subscribe(StatusChanged, name="banner") as changes:
            if _has_example(manager, routes):
                return
            async for _ in changes:
                if _has_example(manager, routes):
                    return

    def _curl(self, routes: RouteTable) -> str:
        name, action, body = _EXAMPLE
        route = routes.get(name)
        key = self._key or "$XCORE_KEY"
        authorization = f' -H "Authorization: Bearer {key}"' if self._authenticated else ""
        if route is None or route.target is None:
            return f"curl -s{authorization} {self._url}/api/v1/plugins"
        return f"curl -s{authorization} {self._url}/app/{name}/{action} -d '{body}'"


def _has_example(manager: Manager, routes: RouteTable) -> bool:
    """Whether the example can be called, or, where it is not among the plugins, any other."""
    wanted = _EXAMPLE[0] if _EXAMPLE[0] in manager.names() else None
    return manager.synced and any(route.target for route in routes if wanted in {None, route.plugin})
