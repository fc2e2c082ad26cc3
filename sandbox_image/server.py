"""Uvicorn's server and its connections, as plugins are served by them: in a sandbox, and at the end of a pipe.

Without its command line, which `import uvicorn` loads too: click, multiprocessing, reloaders. Nothing of it is used
in a sandbox, and every sandbox would pay for it: 2 MB of 17 and 48 ms of a cold start. A plugin that asks for
`uvicorn.run` all the same finds it: it is loaded then.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from xcore.plugin.asgi import GONE

__all__ = ["Config", "HttpProtocol", "Server", "tell_gone"]

_COMMAND_LINE = "uvicorn.main"


@contextlib.contextmanager
def _without_command_line() -> Iterator[None]:
    if "uvicorn" in sys.modules:
        yield
        return
    stand_in = ModuleType(_COMMAND_LINE)
    vars(stand_in)["__getattr__"] = lambda _: stand_in
    sys.modules[_COMMAND_LINE] = stand_in
    yield
    del sys.modules[_COMMAND_LINE]
    package = vars(sys.modules["uvicorn"])
    for name in [name for name, value in package.items() if value is stand_in]:
        del package[name]
    package["__getattr__"] = _later


def _later(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(importlib.import_module(_COMMAND_LINE), name)


with _without_command_line():
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import Server

# What it says of an answer that is not whole is said before, and better, by whoever hosts the plugin.
_log = logging.getLogger("xcore.server")
_log.addFilter(lambda record: not str(record.msg).startswith("ASGI callable returned without"))


class HttpProtocol(HttpToolsProtocol):
    """Tells a request whose client leaves before the answer is whole."""

    def __init__(self, *told: Any, **more: Any) -> None:
        super().__init__(*told, **more)
        self.logger = _log

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.cycle is not None and not self.cycle.response_complete:
            tell_gone(self.cycle.scope)


def tell_gone(scope: Any) -> None:
    """Do what the host has left in the scope for this case."""
    gone = scope.pop(GONE, None)
    if gone is not None:
        gone()
