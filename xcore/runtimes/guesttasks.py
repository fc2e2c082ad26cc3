"""Tasks that a guest makes. A SystemExit or KeyboardInterrupt in one would pass through the loop and end the controller.

Here it becomes PluginFailed, which whoever awaits the task sees. Only tasks made in a guest's context are touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any

from xcore.plugin.contained import PluginFailed


class GuestTasks:
    """A task factory for as long as it is installed, in front of the one there was. `speaker` names the guest."""

    def __init__(self, loop: asyncio.AbstractEventLoop, speaker: ContextVar[str]) -> None:
        self._loop, self._speaker = loop, speaker
        self._before: Any = loop.get_task_factory()
        loop.set_task_factory(self._make)

    def remove(self) -> None:
        self._loop.set_task_factory(self._before)

    def _make(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Future[Any]:
        context: Context | None = options.get("context")
        speaker = self._speaker.get() if context is None else context.get(self._speaker, "")
        if speaker:
            coro = _Held(coro)
        if self._before is not None:
            made: asyncio.Future[Any] = self._before(loop, coro, **options)
            return made
        return asyncio.Task(coro, loop=loop, **options)


class _Held(Coroutine[Any, Any, Any]):
    """A coroutine that raises nothing the loop lets through."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def send(self, value: Any) -> Any:
        return self._held(self._inner.send, value)

    def throw(self, *what: Any) -> Any:
        return self._held(self._inner.throw, *what)

    def close(self) -> None:
        self._held(self._inner.close)

    @staticmethod
    def _held(step: Callable[..., Any], *given: Any) -> Any:
        try:
            return step(*given)
        except (SystemExit, KeyboardInterrupt) as error:
            raise PluginFailed("a task of the plugin tried to exit") from error
