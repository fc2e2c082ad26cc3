import json
import time

from xcore.testing.served import ServedPlugin

LINES = {"accept": "application/x-ndjson"}


def test_it_counts_down_as_server_sent_events(plugin: ServedPlugin) -> None:
    answer = plugin.get("/count", params={"start": 2, "seconds": 0}, headers={"accept": "text/event-stream"})

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.split("\n\n")[:-1] == [
        'data: {"left":2}',
        'data: {"left":1}',
        'data: {"left":0}',
        "event: end\ndata: {}",
    ]


def test_it_counts_down_in_json_lines(plugin: ServedPlugin) -> None:
    answer = plugin.get("/count", params={"start": 1, "seconds": 0}, headers=LINES)

    assert [json.loads(line) for line in answer.text.splitlines()] == [{"left": 1}, {"left": 0}]


def test_a_value_is_there_when_it_is_said(plugin: ServedPlugin) -> None:
    """The first value is read while the plugin waits a minute for the next one."""
    began = time.monotonic()
    params = {"start": 1, "seconds": 60}
    with plugin.http.stream("GET", "/count", params=params, headers=LINES) as answer:
        first = next(answer.iter_lines())

    assert json.loads(first) == {"left": 1}
    assert time.monotonic() - began < 30


def test_a_start_out_of_bounds_is_named(plugin: ServedPlugin) -> None:
    answer = plugin.get("/count", params={"start": -1})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "start"
