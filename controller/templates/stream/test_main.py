from xcore.testing.served import ServedPlugin


def test_it_counts_down_to_one(plugin: ServedPlugin) -> None:
    assert list(plugin.stream("count", start=3, seconds=0.0)) == [3, 2, 1]


def test_who_asks_for_nothing_in_particular_gets_lines_of_json(plugin: ServedPlugin) -> None:
    answer = plugin.get("/count", params={"start": 2, "seconds": 0})

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text == "2\n1\n"
