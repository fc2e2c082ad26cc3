import pytest

from xcore.testing.served import CallFailed, ServedPlugin


def test_words_of_the_body_are_counted_whatever_their_case(plugin: ServedPlugin) -> None:
    assert plugin.call("count", "Été, été… don't PANIC; don't".encode(), top=2) == {
        "total": 5,
        "different": 3,
        "top": [{"word": "été", "count": 2}, {"word": "don't", "count": 2}],
    }


def test_an_empty_body_has_no_words(plugin: ServedPlugin) -> None:
    assert plugin.call("count", b"") == {"total": 0, "different": 0, "top": []}


def test_bytes_that_are_no_text_are_counted_all_the_same(plugin: ServedPlugin) -> None:
    assert plugin.call("count", b"\xff\xfe one")["total"] == 1


def test_a_top_out_of_bounds_is_named(plugin: ServedPlugin) -> None:
    with pytest.raises(CallFailed) as failed:
        plugin.call("count", b"words", top=1001)

    assert (failed.value.status, list(failed.value.errors)) == (422, ["top"])
