"""What a plugin prints, logs or closes stays out of the channel."""

import json
import textwrap

import pytest

from tests.sandbox_image.child import Connection

NOISY = """
    import logging, os, sys
    class P(Plugin):
        @action
        async def prints(self, lines: int) -> str:
            for _ in range(lines):
                print("HTTP/1.1 200 OK\\r\\ncontent-length: 4\\r\\n\\r\\nfake" * 20)
            os.write(1, b"raw\\n")
            return "true answer"
        @action
        async def surrogate(self) -> str:
            print("\\ud800 x")
            return "printed"
        @action
        async def closes(self, descriptors: list[int]) -> list[int]:
            for descriptor in descriptors:
                os.close(descriptor)
            return descriptors
        @action
        def closes_streams(self) -> str:
            sys.stdout.close()
            sys.stderr.close()
            sys.stdin.close()
            return "closed"
        @action
        async def reads(self) -> str:
            return sys.stdin.read()
        @action
        def says(self) -> None:
            self.context.logger.warning("é %s", "x" * 20000)
            logging.info("%d", "not a number")
            logging.debug("not seen")
        @action
        async def fails(self) -> None:
            raise ValueError("on purpose")
        @action
        async def where(self) -> list[str]:
            found = []
            for descriptor in range(3):
                found.append(os.readlink(f"/proc/self/fd/{descriptor}").partition(":")[0])
            return found
"""


def test_output_never_reaches_the_channel(start):
    """A flood of prints that look like answers ends in the log; reading stdin ends at once."""
    runner = start(NOISY).ready()

    assert runner.post("prints", b'{"lines": 5000}') == (200, b'"true answer"')
    assert runner.post("surrogate") == (200, b'"printed"')
    assert runner.post("reads") == (200, b'""')
    runner.said("raw")
    runner.said("\\ud800 x")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("closes", b'{"descriptors": [0, 1, 2]}'),
        ("closes", b'{"descriptors": [1]}'),
        ("closes_streams", b"{}"),
    ],
)
def test_closed_standard_streams_are_never_reused(start, name, body):
    """No socket takes their place, and requests go on; what fails later is still logged."""
    runner = start(NOISY).ready()

    assert runner.post(name, body)[0] == 200
    for _ in range(3):
        assert "socket" not in json.loads(runner.post("where")[1])
    assert runner.post("prints", b'{"lines": 3}')[1] == b'"true answer"' or name == "closes_streams"
    assert runner.post("fails")[0] == 500
    runner.said("ValueError: on purpose")


def test_descriptors_closed_at_import_are_plugged_before_the_socket_is_made(start):
    """The listening socket is never descriptor 0."""
    runner = start("import os\nos.close(0)\nos.close(1)\n" + textwrap.dedent(NOISY)).ready()

    found = json.loads(runner.post("where")[1])
    assert found[:2] == ["/dev/null", "/dev/null"]


def test_a_connection_in_a_standard_streams_place_is_refused(start):
    """Closed in the middle of an action, the place is taken by the next connection: that one is dropped."""
    runner = start("""
        import asyncio, os
        class P(Plugin):
            @action
            async def hole(self) -> str:
                os.close(1)
                self.go = asyncio.Event()
                os.write(2, b"open\\n")
                await self.go.wait()
                return "closed"
            @action
            async def go_on(self) -> None:
                self.go.set()
    """).ready()
    # Made before the hole, so that it is not the one in its place.
    other = Connection(runner.socket)
    other.connect()
    first = Connection(runner.socket)
    first.request("POST", "/app/p/hole", b"{}")
    runner.said("open")

    with pytest.raises(ConnectionError):
        runner.ask("GET", "/ready")
    other.request("POST", "/app/p/go_on", b"{}")
    assert other.getresponse().status == 200
    assert first.getresponse().read() == b'"closed"'
    assert runner.ask("GET", "/ready") == (200, b"ok\n")
    first.close()
    other.close()


def test_the_log_is_json_lines_with_tracebacks_as_plain_lines(start):
    """Time, level, logger, message, request id; long messages cut; a bad format is still said."""
    runner = start(NOISY).ready()
    runner.post("says")
    connection = Connection(runner.socket)
    connection.request("POST", "/app/p/fails", b"{}", {"X-Request-ID": "r-1"})
    assert connection.getresponse().status == 500
    connection.close()
    runner.said("ValueError: on purpose")
    assert runner.stop() == 0

    warned, informed, failed = (json.loads(line) for line in runner.lines if line.startswith("{"))
    assert (warned["level"], warned["logger"]) == ("warning", "plugin.p")
    assert warned["message"].startswith("é xxx")
    assert len(warned["message"]) == 8192
    assert warned["time"].endswith("Z")
    assert informed["message"] == "%d ('not a number',)"
    assert (failed["message"], failed["requestId"]) == ("action fails failed", "r-1")
    assert runner.lines[-1] == "ValueError: on purpose"
    assert "Traceback (most recent call last):" in runner.lines
