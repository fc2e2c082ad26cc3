"""JSON from strangers: plain data, or a sentence that says what is wrong; never another error."""

import contextlib

import pytest
from hypothesis import given, strategies as st

from xcore.errors import InvalidManifest
from xcore.jsonsafe import load


def test_json_is_read_as_what_it_says():
    text = b'{"a": [1, -2.5e3, true, null], "b": "\\ud83d\\ude00", "c": {}}'
    assert load(text, name="it") == {"a": [1, -2500.0, True, None], "b": "😀", "c": {}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"a: 1", "is not JSON"),
        (b'{"a": 1} x', "is not JSON"),
        (b'{"a": 1, "b": {"a": 1, "a": 2}}', 'has the key "a" twice'),
        (b"[NaN]", "must not hold NaN"),
        (b"[-Infinity]", "must not hold -Infinity"),
        (b"[1e999]", "too large for a double"),
        (b"9223372036854775808", "beyond 64 bits"),
        (b"9" * 5000, "beyond 64 bits"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'{"\\udfff": 1}', "half of a surrogate pair"),
        (b'"\xff"', "must be UTF-8"),
        (b"[" * 17 + b"]" * 17, "nested deeper than 16"),
        (b"[" * 60_000, "nested deeper than 16"),
        (b'"' + b"x" * 65_536 + b'"', "must be at most 64 KiB"),
    ],
)
def test_json_that_breaks_a_rule_is_refused_in_words(text, says):
    with pytest.raises(InvalidManifest, match=says):
        load(text, name="the manifest")


def test_who_needs_more_room_says_so():
    """The bounds of size and depth are those of manifests unless others are given; nothing else is let through."""
    large = b"[" * 17 + b'"' + b"x" * 65_536 + b'"' + b"]" * 17
    assert load(large, name="it", max_bytes=2**17, max_depth=17)
    with pytest.raises(InvalidManifest, match="at most 128 KiB"):
        load(large + b" " * 2**17, name="it", max_bytes=2**17, max_depth=17)
    with pytest.raises(InvalidManifest, match="deeper than 3"):
        load(b"[[[[]]]]", name="it", max_depth=3)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_the_error_is_ours(text):
    with contextlib.suppress(InvalidManifest):
        load(text, name="it")
