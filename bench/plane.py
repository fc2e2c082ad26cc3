"""The controller's data plane and nothing else: `python -m bench.plane PORT DIRECTORY SHA256`.

The real protocol class in the real server, with the settings of `controller.app`; only the route table is filled by
hand, so that no engine is needed: `/app/bench/…` goes to the socket in DIRECTORY, and the key whose hash is SHA256
is asked for on every request.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from controller.dataplane.plane import DataPlane
from controller.dataplane.protocol import DataPlaneProtocol
from integrations.gate import Gate
from integrations.grants import Grant, Role
from xcore.endpoint import UnixEndpoint
from xcore.manifest import from_dict
from xcore.routes import Route, RouteTable

PLUGIN = "bench"
# The default of 64 requests at once and 64 waiting would refuse some of 256 clients: more may wait.
_MANIFEST = {
    "apiVersion": "xcore.dev/v1alpha1",
    "kind": "Plugin",
    "metadata": {"name": PLUGIN},
    "spec": {"entrypoint": "main:Bench", "traffic": {"queue": {"maxLength": 1000}}},
}


async def _no_application(_scope: Any, _receive: Any, _send: Any) -> None:
    raise RuntimeError("only /app/ is asked for here")


async def serve(port: int, directory: Path, digest: str) -> None:
    routes = RouteTable()
    plane = DataPlane(routes, Gate(Grant("admin", Role.ADMIN, bytes.fromhex(digest))))
    endpoint = UnixEndpoint(directory, belongs=lambda _pid: True)
    routes.put(Route(PLUGIN, from_dict(_MANIFEST), (routes.target(PLUGIN, "bench-1", endpoint),)))
    plane.start()
    config = uvicorn.Config(
        _no_application,
        http=functools.partial(DataPlaneProtocol, plane),  # type: ignore[arg-type]  # made like a class
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
        proxy_headers=False,
    )
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    await uvicorn.Server(config).serve(sockets=[listener])
    plane.close()


def main() -> None:
    port, directory, digest = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(port), Path(directory), digest))


if __name__ == "__main__":
    main()
