"""Serves one plugin inside its sandbox: `python -m sandbox_image.runner`.

Told by environment variables: `PLUGIN_SPEC` (JSON: name, entrypoint, version, config, legacy), `PLUGIN_PATH` (the code,
`/plugin`), `PLUGIN_SECRETS` (a directory of `<name>/<key>`, `/run/secrets`; none need be there), `PLUGIN_CALLS` (the
directory of the token by which it calls other plugins, and of the socket for it; absent where it calls none), `PLUGIN_CALLS_ADDRESS`
(HOST:PORT to call at, where there is no socket), and `PLUGIN_SOCKET` (a unix socket to listen on) or `PORT` (TCP). In an image that a plugin was packed into, `PLUGIN_ENTRYPOINT`.
Exit codes: 0 asked to stop, 70 the plugin could not be loaded or started (its traceback is in the logs, the
exception's own line last). SIGTERM drains requests, then runs `shutdown`; threads that never end and what is
registered with `atexit` do not hold the process up.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn, cast

import msgspec
import uvloop

from sandbox_image import importpath, stdio
from sandbox_image.server import Config, HttpProtocol, Server
from xcore.plugin.asgi import ASGIApp, Receive, Scope, Send, header
from xcore.plugin.calling import Calls, calls_at, calls_in, nobody
from xcore.plugin.contract import Context
from xcore.plugin.host import Host, Spec, make_context, resolve

EXIT_STARTUP_FAILED = 70
BACKLOG = 512
# Longer than the controller keeps an idle connection: it is never the sandbox that hangs up first.
KEEP_ALIVE_SECONDS = 90
DRAIN_SECONDS = 8
CANCEL_SECONDS = 1
_WEBSOCKET = "sandbox_image.websocket"
_ADAPTER, _PACKAGE = "xcore.plugin.legacy.adapter", "xcore.plugin.legacy.package"
_log = logging.getLogger("xcore.runner")


def main() -> int:
    """Load, start, serve until SIGTERM."""
    stdio.plug()
    stdio.log_as_json()
    signal.signal(signal.SIGTERM, lambda *_: leave(0))  # until there is something to drain
    try:
        host = _load()
    except BaseException as error:  # noqa: BLE001  a plugin may even raise SystemExit while it is imported
        return _failed(error)
    stdio.plug()
    gc.collect()
    gc.freeze()  # what is loaded now stays: keep it out of every collection
    # Not asyncio.run: it would wait for tasks that refuse to be cancelled.
    return uvloop.new_event_loop().run_until_complete(serve(host, _listen()))


def leave(code: int) -> NoReturn:
    """End the process now: an action's thread cannot be killed and must not be waited for."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # gone, closed, or in the middle of a print
        sys.stdout.flush()
    os._exit(code)


async def serve(host: Host, listener: socket.socket) -> int:
    """Answer probes from the first moment on, the plugin's requests once its `startup` has ended."""
    server = _Server(_config(host))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.ask_to_exit)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    starting = asyncio.create_task(_start(host))
    await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
    failure = starting.result() if starting.done() else None
    if failure is not None:
        server.ask_to_exit()
        await serving
        return _failed(failure)
    await serving
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting}, timeout=CANCEL_SECONDS)
    await host.stop()
    return 0


async def _start(host: Host) -> BaseException | None:
    try:
        await host.start()
    except BaseException as error:  # noqa: BLE001  SystemExit would tear the loop down before anybody is told
        return error
    stdio.plug()
    return None


class _Server(Server):
    """Uvicorn raises SIGTERM once more when it has drained; here `shutdown` still has to run."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()

    def ask_to_exit(self) -> None:
        self.should_exit = True


class _Guarded:
    """The host, with standard streams that stay where they belong."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._prefix = host.root_path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (prefix := header(scope, b"x-forwarded-prefix")) == self._prefix:
            # As an image of its own it is sent paths without their prefix (and probes without this header).
            scope["path"] = prefix.decode() + scope["path"]
            scope["raw_path"] = prefix + scope["raw_path"]
        with contextlib.suppress(asyncio.CancelledError):  # its client is gone: there is nobody to answer
            await self._host(scope, receive, send)
        stdio.plug()


class _Connection(HttpProtocol):
    """A connection that took the place of a closed standard stream is refused: prints would go into it.

    Shut down at once, and replaced when the loop has let go of it, for libuv never closes descriptors 0 to 2.
    """

    _place: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        descriptor = transport.get_extra_info("socket").fileno()
        if descriptor in stdio.STANDARD:
            self._place = descriptor
            with socket.socket(fileno=os.dup(descriptor)) as taken:
                taken.shutdown(socket.SHUT_RDWR)
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._place is not None:
            asyncio.get_running_loop().call_soon(stdio.replace, self._place)


def _config(host: Host) -> Config:
    # Loaded for applications only: a plugin of actions has no use for it.
    websocket = importlib.import_module(_WEBSOCKET) if host.hosted.kind == "asgi" else None
    return Config(
        _Guarded(host),
        http=_Connection,
        ws=websocket.WebSocketProtocol if websocket else "none",
        interface="asgi3",
        proxy_headers=False,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        **(websocket.LIMITS if websocket else {}),
    )


def _load() -> Host:
    spec = _spec()
    context = make_context(spec, _secrets(), _calls())
    code, site = os.environ.get("PLUGIN_PATH", "/plugin"), os.environ.get("PLUGIN_SITE")
    if spec.legacy is None:
        importpath.extend(code, site)
        host = Host(resolve(spec.entrypoint, _import), context)
    else:
        host = Host(_old(spec, context, Path(code), site), context)
    if host.hosted.kind == "asgi":
        importlib.import_module(_WEBSOCKET)
    return host


def _old(spec: Spec, context: Context, code: Path, site: str | None) -> ASGIApp:
    """An old plugin imports what lies beside its entry point, and opens files as seen from its folder."""
    adapter, package = importlib.import_module(_ADAPTER), importlib.import_module(_PACKAGE)
    folder = code / package.place(spec.entrypoint).folder
    importpath.extend(str(folder), site)
    os.chdir(code)
    name = f"legacy_{spec.name.replace('-', '_')}"
    return cast("ASGIApp", adapter.adapt(spec, context, package.OldPackage(name, folder).load))


def _spec() -> Spec:
    """What the controller tells; an image that a plugin was packed into names the entry point itself."""
    told = msgspec.json.decode(os.environ.pop("PLUGIN_SPEC"))
    packed = os.environ.get("PLUGIN_ENTRYPOINT")
    return msgspec.convert({**told, "entrypoint": packed} if packed else told, Spec)


def _secrets() -> dict[str, bytes]:
    """Read the files `<name>/<key>` that were handed over, if any were."""
    files = sorted(
        path for path in Path(os.environ.get("PLUGIN_SECRETS", "/run/secrets")).glob("*/*") if path.is_file()
    )
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


def _calls() -> Calls:
    directory, address = os.environ.get("PLUGIN_CALLS"), os.environ.get("PLUGIN_CALLS_ADDRESS")
    if not directory:
        return nobody
    return calls_at(address, Path(directory)) if address else calls_in(Path(directory))


def _import(name: str) -> object:
    top = name.partition(".")[0]
    if top in sys.modules or top in sys.stdlib_module_names:
        raise ImportError(f"{top!r} is the name of a module that Python or the runner uses: rename the file")
    return importlib.import_module(name)


def _listen() -> socket.socket:
    path = os.environ.get("PLUGIN_SOCKET")
    if path is None:
        return socket.create_server(("0.0.0.0", int(os.environ["PORT"])), backlog=BACKLOG)  # noqa: S104
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    # 0660: the group may connect; a controller that is not root reaches its sandboxes by it.
    before = os.umask(0o117)
    listener.bind(path)
    os.umask(before)
    listener.listen(BACKLOG)
    return listener


def _failed(error: BaseException) -> int:
    _log.error("the plugin did not start", exc_info=error)
    return EXIT_STARTUP_FAILED


if __name__ == "__main__":
    leave(main())
