"""What pods wrote, as the kubelet keeps it: of the container that runs, and of the one that ended before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from xcore.runtimes.kubernetes.client import Cluster, Object, Query, Refusal
from xcore.runtimes.kubernetes.objects import collection
from xcore.runtimes.kubernetes.pod import CONTAINER
from xcore.runtimes.text import Lines
from xcore.workload import LogLine

_LONGEST_STAMP = 40


async def lines_of(
    cluster: Cluster, pods: Sequence[Object], *, lines: int, follow: bool
) -> AsyncIterator[LogLine]:
    """Give the last lines of every pod, oldest pod first; following goes with the newest."""
    ordered = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    for number, pod in enumerate(ordered, 1):
        newest = number == len(ordered)
        statuses = pod.get("status", {}).get("containerStatuses", ())
        if any(status.get("restartCount") for status in statuses):
            async for line in _read(cluster, pod, {"tailLines": lines, "previous": "true"}):
                yield line
        async for line in _read(
            cluster, pod, {"tailLines": lines, "follow": "true" if follow and newest else "false"}
        ):
            yield line


async def _read(cluster: Cluster, pod: Object, query: Query) -> AsyncIterator[LogLine]:
    meta = pod["metadata"]
    path = f"{collection('Pod', meta['namespace'])}/{meta['name']}/log"
    asked: Query = {**query, "container": CONTAINER, "timestamps": "true"}
    split = Lines()
    try:
        async for piece in cluster.stream(path, asked):
            for text in split.feed(piece + b"\n"):
                stamp, _, rest = text.partition(" ")
                yield (
                    LogLine(stamp, rest, meta["name"])
                    if _is_stamp(stamp)
                    else LogLine("", text, meta["name"])
                )
    except Refusal:
        return  # not started yet, or its log is gone


def _is_stamp(text: str) -> bool:
    return text.endswith("Z") and "T" in text and len(text) <= _LONGEST_STAMP
