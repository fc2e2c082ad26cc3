from xcore.plugin import Plugin, action


class Hello(Plugin):
    async def startup(self) -> None:
        self.greeting = str(self.context.config.get("greeting", "Hello"))

    @action
    async def greet(self, name: str = "world") -> str:
        """Greet someone."""
        return f"{self.greeting} {name}"

    @action(safe=True)
    def add(self, a: int, b: int = 1) -> int:
        """Add two numbers. Not async: it runs in a thread. `safe`: GET may call it, too."""
        return a + b
