"""The lifespan protocol (ASGI 3): an application's start-up and shutdown, in one task of its own.

An application that knows no lifespan (it raises, or returns without an answer) is started all the same. What it
answers against the protocol fails the start-up, and says what was expected. How long it may take is not judged here:
the start-up probe and the grace period are about that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from xcore.plugin.asgi import ASGIApp, Message
from xcore.plugin.contained import Contained, PluginFailed

# An application that has said what it had to say may still have its own exception to raise.
LAST_WORDS_SECONDS = 1.0
_STARTUP = ("lifespan.startup.complete", "lifespan.startup.failed")
_SHUTDOWN = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")
_log = logging.getLogger("xcore.plugin")


class StartupFailed(Exception):
    """The application said that it cannot start."""


class BadLifespan(Exception):
    """The application does not keep to the lifespan protocol."""


class Lifespan:
    """`startup` once, `shutdown` once after it. `state` is what the application wants every request to be given."""

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._expected = _STARTUP
        self._answer: asyncio.Future[Message] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wrong: BadLifespan | None = None
        self._failure: BaseException | None = None
        self._started = False

    async def startup(self) -> None:
        """Raise what the application fails with: its own exception, or StartupFailed with its message."""
        self._inbox.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.create_task(self._run())
        try:
            answer = await self._answered()
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if self._wrong is not None:
            raise self._wrong
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            await self._last_words()
            raise self._failure or StartupFailed(str(answer.get("message", "")) or "it gave no reason")
        if answer is None and self._failure is not None:
            if not isinstance(self._failure, Exception):
                raise self._failure  # no accident: sys.exit and its kin
            _log.info("the application has no lifespan (%s: %s)", type(self._failure).__name__, self._failure)
        self._started = True

    async def shutdown(self) -> None:
        """Let the application close what it has opened; a failure there is logged, there is nobody left to tell."""
        task = self._task
        if task is None or task.done():
            return
        self._expected = _SHUTDOWN
        self._inbox.put_nowait({"type": "lifespan.shutdown"})
        try:
            answer = await self._answered()
            await self._last_words()
        finally:
            task.cancel()
        if answer is not None and answer["type"] == "lifespan.shutdown.failed" and self._failure is None:
            _log.error("shutdown failed: %s", answer.get("message", ""))

    async def _answered(self) -> Message | None:
        """Give the application's answer; None where it ends without one."""
        assert self._task is not None
        self._answer = asyncio.get_running_loop().create_future()
        waiting: set[asyncio.Future[Any]] = {self._task, self._answer}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return self._answer.result() if self._answer.done() else None

    async def _last_words(self) -> None:
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=LAST_WORDS_SECONDS)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            with Contained():
                await self._app(scope, self._inbox.get, self._send)
        except PluginFailed as failed:
            self._failure = failed.__cause__
            if self._started:
                _log.error("the application's lifespan failed", exc_info=failed.__cause__)

    async def _send(self, message: Message) -> None:
        kind = message.get("type") if isinstance(message, dict) else message
        if kind not in self._expected or self._answer is None or self._answer.done():
            expected = "nothing more" if self._answer and self._answer.done() else " or ".join(self._expected)
            self._wrong = BadLifespan(f"the application sent {kind!r} in its lifespan; expected: {expected}")
            raise self._wrong
        self._answer.set_result(message)
