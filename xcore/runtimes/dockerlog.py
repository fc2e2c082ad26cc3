"""A container's log as lines with their times."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import requests
from docker.errors import DockerException

from xcore.runtimes.text import Lines
from xcore.runtimes.threaded import follow as follow_stream
from xcore.workload import LogLine


async def read_log(
    connect: Callable[[], Any], container: str, *, lines: int, follow: bool
) -> AsyncIterator[LogLine]:
    """Yield the last `lines` lines, then, with `follow`, what is still to come until the container ends."""

    def source() -> Any:
        return connect().logs(
            container, stdout=True, stderr=True, stream=True, timestamps=True, tail=lines, follow=follow
        )

    splitter = Lines()
    async with aclosing(follow_stream(source, (requests.RequestException, DockerException))) as pieces:
        async for piece in pieces:
            for text in splitter.feed(piece):
                yield _line(text, container)
    for text in splitter.end():
        yield _line(text, container)


def _line(text: str, container: str) -> LogLine:
    time, _, rest = text.partition(" ")
    if len(time) < 20 or "T" not in time:
        return LogLine("", text, container[:12])
    return LogLine(time, rest, container[:12])
