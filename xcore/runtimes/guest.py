"""One trusted plugin as a guest of this process: imported, started, asked, and shown out.

Whatever its code raises, SystemExit included, ends the guest or the request, never the process. Its log lines are told
from other guests' by a context variable, which follows its tasks and the threads of its sync actions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from xcore.clock import Clock
from xcore.endpoint import AsgiEndpoint
from xcore.errors import UpstreamUnreachable
from xcore.plugin.asgi import Message, Receive, Scope, Send, problem, respond
from xcore.plugin.host import Host
from xcore.runtimes.logring import LogRing
from xcore.runtimes.private import PrivatePackage
from xcore.workload import Exit, ExitReason, Instance, Workload

EXIT_STARTUP_FAILED = 70  # the runner's, in a sandbox
ACTIONS_LOG = "xcore.plugin"
SPEAKER: ContextVar[str] = ContextVar("xcore_guest", default="")
_log = logging.getLogger("xcore.inprocess")


class Guest:
    """Coming up from its making on; `exit` tells when it is over."""

    def __init__(  # noqa: PLR0913  who it is, what it is told, and the world around it
        self,
        workload: Workload,
        *,
        id: str,  # noqa: A002  the word of Instance
        make: Callable[[], Host],
        package: PrivatePackage,
        clock: Clock,
        changed: Callable[[str], None],
    ) -> None:
        self.id = id
        self._workload, self._make, self._package = workload, make, package
        self._clock, self._changed = clock, changed
        self.log = LogRing(id)
        self.exit: Exit | None = None
        self._host: Host | None = None
        self._started_at = clock.time()
        self._endpoint = AsgiEndpoint(self._serve, self._probe)
        self._handler = _RingHandler(self)
        self._loggers = _loggers(workload.name, package.prefix)
        for logger in self._loggers:
            logger.addHandler(self._handler)
        self._coming = asyncio.create_task(self._come())
        self._going: asyncio.Task[None] | None = None

    def instance(self) -> Instance:
        return Instance(
            id=self.id,
            plugin=self._workload.name,
            revision=self._workload.revision,
            generation=self._workload.generation,
            started_at=self._started_at,
            endpoint=self._endpoint,
            exit=self.exit,
        )

    async def stop(self, grace: float) -> None:
        """Run `shutdown` for at most `grace` seconds and forget the code. A thread that never returns is left."""
        if self.exit is None and self._going is None:
            self._going = asyncio.create_task(self._go(grace))
        if self._going is not None:
            await asyncio.wait({self._going})

    # -- its life -----------------------------------------------------------------------------------------------

    async def _come(self) -> None:
        SPEAKER.set(self.id)
        try:
            host = await _in_daemon_thread(self._load, name=f"import-{self._workload.name}")
            self._host = host
            await host.start()
        except BaseException as error:  # a plugin may even raise SystemExit
            if self._going is not None:
                raise  # cancelled by `_go`, not failed
            self.log.put("".join(traceback.format_exception(error)).encode())
            self._over(Exit(ExitReason.Error, EXIT_STARTUP_FAILED, self._clock.time()))

    def _load(self) -> Host:
        SPEAKER.set(self.id)
        try:
            host = self._make()
        finally:
            if self.exit is not None:
                self._package.close()  # it was given up while it was imported
        return host

    async def _go(self, grace: float) -> None:
        self._coming.cancel()
        await asyncio.wait({self._coming}, timeout=max(grace, 0.1))
        host = self._host
        if host is not None and self.exit is None:
            SPEAKER.set(self.id)
            ending = asyncio.create_task(_survive(host))
            await asyncio.wait({ending}, timeout=grace)
            ending.cancel()
        self._over(Exit(ExitReason.Completed, 0, self._clock.time()))

    def _over(self, ended: Exit) -> None:
        if self.exit is not None:
            return
        if self._host is not None:
            self._host.hosted.close()
        self.exit, self._host = ended, None
        for logger in self._loggers:
            logger.removeHandler(self._handler)
        self._package.close()
        self.log.close()
        self._changed(self._workload.name)

    # -- what it is asked ---------------------------------------------------------------------------------------

    async def _probe(self, path: str) -> tuple[int, bytes]:
        host = self._host
        if host is None:
            return 503, b"starting\n"
        with self._speaking():
            try:
                answer = await host.probe(path)
            except SystemExit:
                _log.exception("the plugin %s tried to exit", self._workload.name)
                return 500, b"the plugin tried to exit\n"
        return answer.status, answer.content

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = self._host
        if host is None:
            raise UpstreamUnreachable("the plugin does not run")
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        with self._speaking():
            try:
                await host(scope, receive, watched)
            except SystemExit:
                # Let through, it would end the controller.
                logging.getLogger(ACTIONS_LOG).exception("the plugin tried to exit")
                if not begun and scope["type"] == "http":
                    detail = "the plugin tried to exit; its traceback is in the plugin's logs"
                    await respond(send, problem(500, "ActionFailed", detail))

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        token = SPEAKER.set(self.id)
        try:
            yield
        finally:
            SPEAKER.reset(token)


class _RingHandler(logging.Handler):
    """Puts into a guest's ring what the guest logs."""

    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self._guest_id, self._ring = guest.id, guest.log
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def filter(self, record: logging.LogRecord) -> bool:
        """Ours, or of the plugin's own loggers by code that runs outside any guest's context (a thread of its own)."""
        speaker = SPEAKER.get()
        return speaker == self._guest_id or (not speaker and record.name != ACTIONS_LOG)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._ring.put(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001  logging's own rule for handlers
            self.handleError(record)


def _loggers(plugin: str, prefix: str) -> tuple[logging.Logger, ...]:
    """The context's logger, those its modules get by `__name__`, and the one that tells of failed actions."""
    own = (logging.getLogger(f"plugin.{plugin}"), logging.getLogger(prefix))
    for logger in own:
        if not logger.isEnabledFor(logging.INFO):
            logger.setLevel(logging.INFO)  # as in a sandbox
    return (*own, logging.getLogger(ACTIONS_LOG))


async def _survive(host: Host) -> None:
    try:
        await host.stop()
    except SystemExit:
        _log.exception("a plugin tried to exit in its shutdown")


async def _in_daemon_thread(function: Callable[[], Host], *, name: str) -> Host:
    """Await a thread that may never return: unlike a pool's, it does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Host | BaseException] = loop.create_future()

    def settle(outcome: Host | BaseException) -> None:
        if not done.cancelled():
            # As a result: not every exception may be a future's.
            done.set_result(outcome)

    def run() -> None:
        outcome: Host | BaseException
        try:
            outcome = function()
        except BaseException as error:  # noqa: BLE001  whatever an import raises is its answer
            outcome = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    outcome = await done
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
