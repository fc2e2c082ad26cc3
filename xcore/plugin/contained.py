"""The wall around a plugin's code: whatever it raises is its own failure, never the host's.

SystemExit, KeyboardInterrupt or a CancelledError of the plugin's own making included. What still passes is the
host's wish to stop: a task that was asked to cancel, a coroutine that is being closed.
"""

from __future__ import annotations

import asyncio


class PluginFailed(Exception):
    """The plugin's code raised; its exception is the cause."""


class Contained:
    """`with Contained():` around the plugin's code, sync or async: all but `known` becomes PluginFailed."""

    __slots__ = ("_known", "_task")

    def __init__(self, *known: type[Exception]) -> None:
        self._known: tuple[type[Exception], ...] = (PluginFailed, *known)

    def __enter__(self) -> None:
        self._task = _current_task()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, self._known) or self._asked(error):
            return
        raise PluginFailed from error

    def _asked(self, error: BaseException) -> bool:
        if isinstance(error, asyncio.CancelledError):
            return self._task is not None and self._task.cancelling() > 0
        # A coroutine is closed from outside its task; raised inside, it is the plugin's joke.
        return isinstance(error, GeneratorExit) and _current_task() is not self._task


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop: a thread
        return None
