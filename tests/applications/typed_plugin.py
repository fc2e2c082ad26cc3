"""A plugin as its author would type it; a test reads it with mypy's strict rules."""

from collections.abc import AsyncIterator, Iterator

from xcore.plugin import Plugin, Response, action


class Typed(Plugin):
    async def startup(self) -> None:
        self.greeting: str = self.context.config.get("greeting", "Hello")

    @action
    async def greet(self, name: str = "world") -> str:
        return f"{self.greeting} {name}"

    @action(safe=True)
    async def count(self, to: int) -> AsyncIterator[int]:
        """Count, an item a number."""
        for number in range(to):
            yield number

    @action(name="sync-count")
    def sync_count(self, to: int) -> Iterator[dict[str, int]]:
        for number in range(to):
            yield {"number": number}

    @action
    async def echo(self, body: bytes) -> AsyncIterator[bytes]:
        yield body

    @action(safe=True)
    def page(self) -> Response:
        return Response("<p>hello</p>", media_type="text/html; charset=utf-8")


async def use(plugin: Typed) -> list[int]:
    """The decorator changes no type."""
    return [number + 1 async for number in plugin.count(to=3)]
