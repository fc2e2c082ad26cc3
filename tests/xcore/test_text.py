"""What a plugin wrote, as lines a person may read: split, bounded, and unable to play tricks on a terminal."""

import pytest
from hypothesis import given, strategies as st

from xcore.runtimes.text import MAX_LINE, Lines, printable


def lines_of(pieces):
    lines = Lines()
    given_out = [text for piece in pieces for text in lines.feed(piece)]
    return [*given_out, *lines.end()]


def test_pieces_become_lines_wherever_they_were_cut():
    text = "eins\nzwei ü\n\ndrei".encode()
    expected = ["eins", "zwei ü", "", "drei"]
    for size in range(1, len(text) + 1):
        assert lines_of([text[i : i + size] for i in range(0, len(text), size)]) == expected


@given(st.lists(st.binary(max_size=30_000), max_size=4))
def test_no_line_is_longer_than_8_kib_nor_holds_anything_but_printable_characters(pieces):
    for line in lines_of(pieces):
        assert len(line) <= MAX_LINE
        assert line.replace("\t", "").isprintable()


def test_an_endless_line_is_given_out_in_parts_and_never_kept():
    lines = Lines()
    parts = [part for _ in range(100) for part in lines.feed(b"x" * 10_000)]
    assert {len(part) for part in parts} == {MAX_LINE}
    assert len(lines._rest) < MAX_LINE
    assert sum(map(len, parts)) + len(lines._rest) == 1_000_000


def test_one_huge_piece_costs_no_more_than_reading_it():
    parts = list(Lines().feed(b"x" * 20_000_000))
    assert len(parts) == 20_000_000 // MAX_LINE


def test_a_reader_that_stops_half_way_does_not_see_a_line_twice():
    lines = Lines()
    next(iter(lines.feed(b"one\ntwo\nrest" + b"y" * MAX_LINE)))
    assert list(lines.end()) == ["yyyy"]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        (b"tab\there", "tab\there"),
        (b"windows\r", "windows"),
        (b"over\rwritten", "over\\rwritten"),
        (b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        (b"bell\x07null\x00", "bell\\x07null\\x00"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u202eright to left".encode(), "\\u202eright to left"),
        ("ünïcödé 🎉".encode(), "ünïcödé 🎉"),
        ("\u2028".encode(), "\\u2028"),
    ],
)
def test_whatever_could_move_a_cursor_or_forge_a_line_becomes_an_escape(raw, shown):
    assert printable(raw) == shown
