"""Ports of the controller's own, bound before anything else is started: one in use is found out while nothing has to be undone."""

from __future__ import annotations

import os
import socket

from xcore.errors import XcoreError

BACKLOG = 2048


def listen(host: str, port: int, *, setting: str = "XCORE_PORT") -> socket.socket:
    """Give a socket that listens; raises XcoreError naming the `setting` of its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise XcoreError(
            f"cannot listen on {host}:{port} ({os.strerror(error.errno or 0)}); set XCORE_HOST or {setting}"
        ) from error
