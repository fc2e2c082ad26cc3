"""Streams of actions inside a sandbox's runner, over its socket."""

import json
import socket
from http.client import IncompleteRead

import pytest

from tests.sandbox_image.child import Connection

SOURCE = """
    import asyncio
    from collections.abc import AsyncIterator

    class P(Plugin):
        @action(safe=True)
        async def follow(self) -> AsyncIterator[int]:
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                print("closed")

        @action(safe=True)
        async def flood(self) -> AsyncIterator[str]:
            for number in range(1 << 20):
                if number % 64 == 0:
                    print("at", number)
                yield "x" * 4096

        @action(safe=True)
        async def fails(self) -> AsyncIterator[int]:
            yield 1
            raise LookupError("midway")
"""


@pytest.fixture
def streams(start):
    return start(SOURCE).ready()


def opened(runner, name, accept="text/event-stream"):
    connection = Connection(runner.socket)
    connection.request("GET", f"/app/p/{name}", headers={"Accept": accept})
    return connection, connection.getresponse()


def test_an_item_is_sent_when_it_is_there_and_a_client_that_leaves_is_heard(streams):
    """The first event comes while the generator waits; when the client goes, its `finally` runs."""
    connection, answer = opened(streams, "follow")
    assert answer.headers["content-type"] == "text/event-stream"
    assert [answer.readline(), answer.readline()] == [b"data: 1\n", b"\n"]
    answer.close()
    connection.close()
    streams.said("closed")
    assert streams.stop() == 0
    assert streams.lines == ["closed"]


def test_a_failure_midway_is_told_and_then_cut(streams):
    """The problem is the last thing in the body, the body has no end, and the log has one traceback."""
    connection, answer = opened(streams, "fails", "application/x-ndjson")
    with pytest.raises(IncompleteRead) as cut:
        answer.read()
    connection.close()
    lines = [json.loads(line) for line in cut.value.partial.splitlines()]
    assert (lines[0], lines[1]["error"]["reason"]) == (1, "ActionFailed")
    assert streams.stop() == 0
    assert sum("LookupError: midway" in line for line in streams.lines) == 1
    assert not any("without completing" in line for line in streams.lines)


def test_a_client_that_does_not_read_pauses_the_generator(streams):
    """What is under way is bounded by the buffers; reading on sets it going again."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(str(streams.socket))
        client.sendall(b"GET /app/p/flood HTTP/1.1\r\nHost: x\r\n\r\n")
        streams.said("at 0")
        assert streams.ask("GET", "/live")[0] == 200
        paused = len(streams.lines)
        assert paused < 20
        while not any(f"at {64 * (paused + 4)}" in line for line in streams.lines):
            assert client.recv(65536)
    assert streams.stop() == 0
