"""YAML from strangers is read into plain data, or refused with the line that is wrong."""

import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

from xcore import yamlsafe
from xcore.errors import InvalidManifest
from xcore.yamlsafe import MAX_BYTES, MAX_DEPTH, dotted, load


@pytest.fixture(autouse=True, params=["in C", "in Python"])
def scanner(request, monkeypatch):
    """Both scanners of PyYAML: which one is there depends on how it was installed."""
    monkeypatch.setattr(yamlsafe, "_LOADER", yaml.CSafeLoader if request.param == "in C" else yaml.SafeLoader)


def refused(text):
    with pytest.raises(InvalidManifest) as caught:
        load(text if isinstance(text, bytes) else text.encode(), name="plugin.yaml")
    (problem,) = caught.value.problems
    assert caught.value.detail == "plugin.yaml cannot be read as YAML"
    return problem


def read(text):
    return load(text.encode(), name="plugin.yaml")[0]


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)
)


@pytest.mark.parametrize(
    ("text", "line", "field", "says"),
    [
        ("a: 1\nb: !!python/object/apply:os.system [id]", 2, "b", "tags"),
        ("!!python/object:os.system {}", 1, "", "tags"),
        ("a: !!str 1", 1, "a", "tags"),
        ("a: ! x", 1, "a", "tags"),
        ("!!str a: 1", 1, "", "tags"),
        (BOMB, 1, "a", "anchors"),
        ("a: 1\nb: [*a]", 2, "b[0]", "aliases"),
        ("&k a: 1", 1, "", "anchors"),
        ("*k : 1", 1, "", "aliases"),
        ("a: {<<: {b: 1}}", 1, "a", "merge keys"),
        ("a: 1\nb: 2\na: 3", 3, "a", "given twice, first on line 1"),
        ("x:\n  - {a: 1, 'a': 2}", 2, "x[0].a", "given twice"),
        ("1: a", 1, "", "put 1 in quotes"),
        ("true: a", 1, "", "put true in quotes"),
        ("~: a", 1, "", "strings as keys"),
        ("? \n: a", 1, "", "strings as keys"),
        ("? [a]\n: b", 1, "", "not lists or mappings"),
        ("a: 1\n---\nb: 2", 2, "", "one document"),
        ("", 1, "", "is empty"),
        ("# nothing\n", 1, "", "is empty"),
        ("a: 1\nb: c: d", 2, "", "is not YAML"),
        ("a: 1\n\tb: 2", 2, "", "is not YAML"),
        ("@", 1, "", "is not YAML"),
        ('"\\UFFFFFFFF"', 1, "", "is not YAML"),
        (f"%YAML {'1' * 5000}.1\n--- a", 1, "", "is not YAML"),
        ("a: 1\nb: \x07", 2, "", "U+0007"),
        ("a: \x00", 1, "", "U+0000"),
        (b"a: 1\nb: \xff", 2, "", "UTF-8"),
        ("a: 1".encode("utf-16"), 1, "", "UTF-8"),
        (f"a: 1\nb: {'9' * 20}", 2, "b", "64 bits"),
        ("a: .inf", 1, "a", "finite"),
        ("a: [.NaN]", 1, "a[0]", "finite"),
        ("a: 1e999", 1, "a", "finite"),
    ],
)
def test_what_could_surprise_is_refused_with_its_line_and_field(text, line, field, says):
    problem = refused(text)
    assert field == problem.field
    assert problem.message.startswith(f"line {line}: ")
    assert says in problem.message


def test_half_of_a_surrogate_pair_is_refused():
    assert "line 1" in refused('a: "\\ud800"').message


@pytest.mark.parametrize("text", ["[" * 10_000, "- " * 10_000, "{a: " * 10_000, "? " * 10_000])
def test_depth_is_refused_before_it_costs_anything(text):
    assert any(word in refused(text).message for word in ("deeper than 16", "not lists or mappings"))


def test_sixteen_levels_are_read_and_seventeen_are_not():
    assert json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH) == read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert "deeper than 16" in refused("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).message


@pytest.mark.parametrize("size", [MAX_BYTES + 1, 20 * 2**20])
def test_more_than_64_kib_is_refused_unread(size):
    assert refused(b"a: " + b"x" * (size - 3)).message == "line 1: must be at most 64 KiB"


def test_64_kib_are_read():
    assert read("a: " + "x" * (MAX_BYTES - 3)) == {"a": "x" * (MAX_BYTES - 3)}


@pytest.mark.parametrize(
    "word", ["yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"]
)
def test_norway_is_never_false(word):
    assert "true or false" in refused(f"country: {word}").message
    assert refused(f"{word}: 1").field == ""
    assert {"country": word} == read(f"country: '{word}'")


@pytest.mark.parametrize(
    "number", ["010", "-010", "+07", "00", "0o17", "0x1F", "0b101", "1_000", "0_1", "-1_0"]
)
def test_a_number_that_yaml_versions_read_differently_is_refused(number):
    assert "decimal number" in refused(f"mode: {number}").message
    assert {"mode": number} == read(f'mode: "{number}"')


@pytest.mark.parametrize(
    "text", ["0" * 60_000, "1" * 30_000 + "_" * 30_000 + "x", "0" * 30_000 + "e" * 30_000]
)
def test_a_scalar_of_60_kib_is_judged_at_once(text):
    try:
        told = str(read(f"a: {text}") == {"a": text})
    except InvalidManifest as error:
        told = str(error)
    assert told == "True" or len(told) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
        *[(word, True) for word in ("true", "True", "TRUE")],
        *[(word, False) for word in ("false", "False", "FALSE")],
        *[
            ("0", 0),
            ("-1", -1),
            ("+5", 5),
            ("9223372036854775807", 2**63 - 1),
            ("-9223372036854775808", -(2**63)),
        ],
        *[("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0), ("1e3", 1000.0), ("1.5E-1", 0.15), ("01.5", 1.5)],
        *[
            (word, word)
            for word in ("nO", "y", "n", "1.0.0", "12:30:45", "2026-01-01", "tRue", "1e", ".", "-", "0xg")
        ],
        *[("'1'", "1"), ('"null"', "null"), ("|\n  yes\n", "yes\n"), ('"\\0"', "\0"), ("ключ", "ключ")],
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text, value):
    data = read(f"a: {text}") if text != "-" else read("a: '-'")
    assert {"a": value} == data
    assert type(value) is type(data["a"])


def test_a_byte_order_mark_a_version_line_and_document_marks_are_fine():
    assert load(b"\xef\xbb\xbf%YAML 1.2\n---\na: 1\n...\n", name="x")[0] == {"a": 1}


def test_quoted_merge_signs_are_ordinary_keys():
    assert read('"<<": 1') == {"<<": 1}


def test_every_value_has_the_line_it_begins_on():
    _, lines = load(b"a:\n  b: 1\n  c:\n    - x\n    - {d: 2,\n       e: 3}\n", name="x")
    assert lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("a", "c", 0): 4,
        ("a", "c", 1): 5,
        ("a", "c", 1, "d"): 5,
        ("a", "c", 1, "e"): 6,
    }


def test_a_path_is_written_as_people_write_it_and_never_longer_than_it_helps():
    assert dotted(("spec", "env", 0, "name")) == "spec.env[0].name"
    assert dotted(()) == ""
    assert dotted(("a", "b.c\n", "é")) == "a['b.c\\n']['\\xe9']"
    assert len(dotted(("x" * 100_000,))) < 80


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cn"], exclude_characters="\ufeff"),
        max_size=20,
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc ñ_<", max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
QUICK = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@QUICK
@given(JSON)
def test_json_is_read_as_what_it_is(data):
    assert data == read(json.dumps(data, ensure_ascii=False))


@QUICK
@given(
    st.binary(max_size=200)
    | st.text("{}[]:,-&*!|>'\"%@#?\\ \n\tab01._~<Ux\x85\u2028\ufeff", max_size=60).map(str.encode)
)
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(text):
    told = []
    try:
        data, lines = load(text, name="x")
    except InvalidManifest as error:
        data, lines = str(error.problems[0]), {(): 1}
        told.append(error.problems[0].message)
    assert data == json.loads(json.dumps(data))
    assert lines[()] >= 1
    assert all(message.startswith("line ") for message in told)
