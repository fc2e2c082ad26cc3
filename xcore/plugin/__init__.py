"""What a plugin author imports. Light on purpose: msgspec and the standard library, nothing else.

from xcore.plugin import Plugin, action

class Hello(Plugin):
    @action
    async def greet(self, name: str = "world") -> str:
        return f"Hello {name}"
"""

from xcore.plugin.calling import CallFailed
from xcore.plugin.contract import Context, Plugin, Response, action

__all__ = ["CallFailed", "Context", "Plugin", "Response", "action"]
