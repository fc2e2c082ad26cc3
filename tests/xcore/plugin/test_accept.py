"""Which of two types a client would rather have."""

import pytest

from xcore.plugin.accept import preferred

LINES, EVENTS = b"application/x-ndjson", b"text/event-stream"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (b"", LINES),
        (b"*/*", LINES),
        (b"application/json", LINES),
        (b"text/html", LINES),
        (EVENTS, EVENTS),
        (b"Text/Event-Stream", EVENTS),
        (b"text/event-stream;charset=utf-8", EVENTS),
        (b"text/*", EVENTS),
        (b"text/event-stream, */*", EVENTS),
        (b"*/*, text/event-stream", EVENTS),
        (b"application/x-ndjson, text/event-stream", LINES),
        (b"application/x-ndjson;q=0.5, text/event-stream", EVENTS),
        (b"application/x-ndjson, text/event-stream;q=0.9", LINES),
        (b"text/event-stream;q=0, */*", LINES),
        (b"application/x-ndjson;q=0, */*;q=0.1", EVENTS),
        (b"text/event-stream; q=nonsense, application/x-ndjson;q=0.1", LINES),
        (b"text/event-stream;q=7, application/x-ndjson;q=0.1", LINES),
        (b"text/event-stream;q=nan, application/x-ndjson;q=0.1", LINES),
        (b",,;q=1,text/event-stream", EVENTS),
        (b"a/b," * 1000 + b"text/event-stream", LINES),
    ],
)
def test_the_better_liked_type_is_chosen(accept, chosen):
    """By quality, then by being named; JSON lines where nothing tells, or nothing fits."""
    assert preferred(accept, (LINES, EVENTS)) == chosen
