"""The way to a container's socket, and the proof that who answers there is in the container."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from xcore.endpoint import UnixEndpoint
from xcore.runtimes import envelope, procfs


def socket_endpoint(container: str, pid: int, directory: str) -> UnixEndpoint:
    belongs = functools.partial(procfs.in_cgroup, name=container)
    return UnixEndpoint(Path(directory), belongs, functools.partial(_open_inside, container, pid))


def _open_inside(container: str, pid: int) -> int:
    """Open the socket's directory through the container's own mounts.

    An engine that comes back with live-restore unmounts the volume on the host's side (seen with 20.10), while
    the container keeps it.
    """
    if not procfs.in_cgroup(pid, container):
        raise FileNotFoundError(2, "the sandbox has ended")
    directory = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in envelope.SOCKET_DIR.strip("/").split("/"):
        try:
            below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)
        directory = below
    return directory
