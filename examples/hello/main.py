from xcore.plugin import Plugin, action


class Hello(Plugin):
    @action
    async def greet(self, name: str = "world") -> str:
        """Greet someone."""
        return f"Hello {name}"

    @action(safe=True)
    def add(self, a: int, b: int = 1) -> int:
        """Add two numbers; `GET /app/hello/add?a=1&b=2` works too."""
        return a + b
