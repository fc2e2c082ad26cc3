"""Amounts are written as in Kubernetes, and mean exactly what they say."""

import contextlib

import pytest
from hypothesis import given, strategies as st

from xcore.quantity import parse_bytes, parse_count, parse_cpu


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("500m", 0.5),
        ("1", 1.0),
        ("0.5", 0.5),
        (".25", 0.25),
        ("2.", 2.0),
        ("1500000u", 1.5),
        ("1e3m", None),
        ("1e1", 10.0),
    ],
)
def test_processor_time_is_given_in_cores_or_millicores(text, cores):
    if cores is None:
        with pytest.raises(ValueError, match="Kubernetes quantity"):
            parse_cpu(text)
    else:
        assert cores == parse_cpu(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("128Mi", 128 * 2**20),
        ("1Gi", 2**30),
        ("1.5Ki", 1536),
        ("1k", 1000),
        ("1M", 10**6),
        ("1E", 10**18),
        ("1E3", 1000),
        ("12e-1k", None),
        ("134217728", 134217728),
        ("1000m", 1),
    ],
)
def test_memory_is_given_in_bytes_with_binary_or_decimal_suffixes(text, count):
    if count is None:
        with pytest.raises(ValueError, match="such as 128Mi"):
            parse_bytes(text)
    else:
        assert count == parse_bytes(text)


def test_a_count_may_have_a_suffix():
    assert (parse_count("64"), parse_count("1k")) == (64, 1000)


@pytest.mark.parametrize(
    "text",
    ["", "m", "-1", "+1", "1 Mi", "1mi", "1KB", "1Mi\n", "\u0661", "1e999", "0x10", "1" * 33, "nan", "inf"],
)
def test_what_is_not_a_quantity_is_refused_with_an_example_of_one(text):
    for parse, example in ((parse_cpu, "500m"), (parse_bytes, "128Mi"), (parse_count, "64")):
        with pytest.raises(ValueError, match=f"such as {example}"):
            parse(text)


@pytest.mark.parametrize(
    ("parse", "text"), [(parse_cpu, "0.0005"), (parse_bytes, "500m"), (parse_count, "1.5")]
)
def test_an_amount_is_never_rounded(parse, text):
    with pytest.raises(ValueError, match="whole"):
        parse(text)


@given(st.text())
def test_any_text_is_an_amount_or_a_value_error(text):
    for parse in (parse_cpu, parse_bytes, parse_count):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


@given(st.integers(0, 2**40))
def test_a_plain_number_means_itself_and_its_suffixes_multiply_it(number):
    assert number == parse_bytes(str(number)) == parse_count(str(number))
    assert number * 2**20 == parse_bytes(f"{number}Mi")
    assert number / 1000 == parse_cpu(f"{number}m")
