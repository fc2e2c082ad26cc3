"""Serves one plugin inside its sandbox: `python -m sandbox_image.runner`.

Told by three environment variables: `PLUGIN_SPEC` (JSON: name, entrypoint, version, config), `PLUGIN_PATH`
(the code, `/plugin`), and `PLUGIN_SOCKET` (a unix socket to listen on) or `PLUGIN_PORT` (TCP).
Exit codes: 0 asked to stop, 70 the plugin could not be loaded or started (its traceback is in the logs).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvicorn
import uvloop

from sandbox_image import stdio
from xcore.plugin.asgi import Receive, Scope, Send
from xcore.plugin.host import Host, Spec, make_context, resolve

EXIT_STARTUP_FAILED = 70
BACKLOG = 512
# Longer than the controller keeps an idle connection: it is never the sandbox that hangs up first.
KEEP_ALIVE_SECONDS = 90
DRAIN_SECONDS = 8
_log = logging.getLogger("xcore.runner")


def main() -> int:
    """Load, start, serve until SIGTERM."""
    stdio.log_as_json()
    spec = msgspec.json.decode(os.environ.pop("PLUGIN_SPEC"), type=Spec)
    sys.path.insert(0, os.environ.get("PLUGIN_PATH", "/plugin"))
    try:
        host = Host(resolve(spec.entrypoint), make_context(spec, {}))
    except BaseException as error:  # noqa: BLE001  a plugin may even raise SystemExit while it is imported
        return _failed(error)
    gc.freeze()  # what is loaded now stays: keep it out of every collection
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(serve(host, _listen()))


async def serve(host: Host, listener: socket.socket) -> int:
    """Answer probes from the first moment on, the plugin's requests once its `startup` has ended."""
    server = _Server(_config(_Guarded(host)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.ask_to_exit)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    starting = asyncio.create_task(host.start())
    await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
    failure = starting.exception() if starting.done() and not starting.cancelled() else None
    if failure is not None:
        server.should_exit = True
        await serving
        return _failed(failure)
    await serving
    starting.cancel()
    await host.stop()
    return 0


class _Server(uvicorn.Server):
    """Uvicorn raises SIGTERM once more when it has drained; here `shutdown` still has to run."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()

    def ask_to_exit(self) -> None:
        self.should_exit = True


class _Guarded:
    """The host, with standard streams that stay where they belong."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._host(scope, receive, send)
        stdio.plug()


def _config(app: _Guarded) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def _listen() -> socket.socket:
    path = os.environ.get("PLUGIN_SOCKET")
    if path is None:
        return socket.create_server(("0.0.0.0", int(os.environ["PLUGIN_PORT"])), backlog=BACKLOG)  # noqa: S104
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    os.umask(0o007)  # the group may connect: a controller that is not root reaches its sandboxes by it
    listener.bind(path)
    os.umask(0o022)
    listener.listen(BACKLOG)
    return listener


def _new_loop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop()


def _failed(error: BaseException) -> int:
    _log.error("the plugin did not start", exc_info=error)
    return EXIT_STARTUP_FAILED


if __name__ == "__main__":
    sys.exit(main())
