"""What a container may leave behind: processes that outlive its end, and volumes that outlive its removal."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from docker.errors import APIError

from xcore.runtimes import procfs
from xcore.runtimes.dockerstate import parse_time

YOUNG_SECONDS = 5.0


def end_what_is_left(container: str) -> None:
    """A stopped container may live on: a traced PID 1 can make the engine believe in its end."""
    for pid in procfs.pids():
        if procfs.in_cgroup(pid, container):
            procfs.kill(pid, lambda pid: procfs.in_cgroup(pid, container))


def sweep_volumes(client: Any, label: str) -> None:
    """Remove volumes whose container somebody else removed; a young one may just be getting its container."""
    for volume in client.volumes(filters={"dangling": True, "label": [label]})["Volumes"] or ():
        if time.time() - parse_time(volume["CreatedAt"]) > YOUNG_SECONDS:
            with contextlib.suppress(APIError):  # it went with its container meanwhile
                client.remove_volume(volume["Name"], force=True)
