"""The way to a container's socket or port, and the proof that who answers there is in the container."""

from __future__ import annotations

import functools
import os
from pathlib import Path, PurePosixPath
from typing import Any

from xcore.endpoint import SOCKET_NAME, Endpoint, TcpEndpoint, UnixEndpoint
from xcore.runtimes import envelope, procfs
from xcore.runtimes.netns import Namespace, Namespaces
from xcore.runtimes.told import SOCKET_DIR


def endpoint_of(found: dict[str, Any], visits: Namespaces) -> Endpoint | None:
    """Read it from what the engine tells of the container; None for one that was made without."""
    container, pid = found["Id"], found["State"]["Pid"]
    listens = found["Config"]["Labels"].get(envelope.LISTENS, SOCKET_NAME)
    if listens.isdigit():
        return TcpEndpoint(Namespace(container, pid, visits), int(listens))
    source = next((m["Source"] for m in found["Mounts"] if m["Destination"] == SOCKET_DIR), None)
    if source is None:
        return None
    belongs = functools.partial(procfs.in_cgroup, name=container)
    inside = functools.partial(_open_inside, container, pid)
    return UnixEndpoint(Path(source), belongs, inside, PurePosixPath(listens).name)


def make_socket_dir(directory: Path) -> str:
    """Make the directory of a sandbox's socket on the host, for a controller that is not root."""
    directory.mkdir(parents=True, mode=0o770)
    directory.chmod(0o770)
    return str(directory)


def _open_inside(container: str, pid: int) -> int:
    """Open the socket's directory through the container's own mounts.

    An engine that comes back with live-restore unmounts the volume on the host's side (seen with 20.10), while
    the container keeps it.
    """
    if not procfs.in_cgroup(pid, container):
        raise FileNotFoundError(2, "the sandbox has ended")
    directory = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in SOCKET_DIR.strip("/").split("/"):
        try:
            below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)
        directory = below
    return directory
