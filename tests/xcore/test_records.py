"""Records: what the next controller reads of a plugin is what the last one wrote."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.xcore.kernel import make_workload
from xcore.records import Record, Records
from xcore.restart import Restarts
from xcore.store import MemoryStore
from xcore.workload import Exit, ExitReason

SITES = Path("/sites")
PLAIN = make_workload(config={"a": 1})
PACKED = replace(PLAIN, site=SITES / ("5" * 64))
IMAGE = replace(PLAIN, code=None, image="sha256:4")
times = st.floats(0, 2e9)
exits = st.builds(
    Exit,
    st.sampled_from(ExitReason),
    st.none() | st.integers(0, 255),
    times,
    st.text(max_size=20),
    st.booleans(),
)
histories = st.builds(
    Restarts,
    count=st.integers(0, 9),
    recent=st.lists(times, max_size=3).map(tuple),
    consecutive=st.integers(0, 9),
    last=st.none() | exits,
    next_time=st.none() | times,
    held=st.sampled_from(["", "Exited"]),
)
records = st.builds(
    Record,
    folder=st.sampled_from(["", "hello", "other"]),
    suspended=st.booleans(),
    generation=st.integers(0, 99),
    served=st.none() | st.sampled_from([PLAIN, PACKED, IMAGE]),
    restarts=histories,
)


def reopened(store):
    return Records(store, snapshots=PLAIN.code.parent, sites=SITES)


@given(records)
def test_a_record_survives_the_controller(record):
    store = MemoryStore()
    reopened(store).write("hello", record)
    assert reopened(store).read("hello") == record


def test_of_an_unknown_plugin_nothing_is_remembered():
    assert reopened(MemoryStore()).read("hello") == Record()


def test_which_name_a_folder_had_is_remembered_until_the_plugin_is_deleted():
    store = MemoryStore()
    first = reopened(store)
    first.write("hello", Record(folder="one"))
    first.write("other", Record(folder="two"))
    first.write("hello", Record(folder="one", generation=2))
    second = reopened(store)
    assert [second.name_of(f) for f in ("one", "two", "three")] == ["hello", "other", None]
    second.delete("hello")
    second.delete("hello")
    assert reopened(store).name_of("one") is None
    assert reopened(store).read("hello") == Record()


@pytest.mark.parametrize(
    "change",
    [
        {"served": {"manifest": {"kind": "Other"}, "revision": "r", "generation": 1, "code": "c"}},
        {"restarts": {"last": ["Vaporised", 1, 0.0, "", True]}},
        {"restarts": {}},
        {"futureField": 1},
    ],
)
def test_what_another_version_wrote_is_read_as_far_as_it_is_understood(change):
    store = MemoryStore()
    store.write("plugins", "hello", {"suspended": True, "generation": 4, **change})
    assert reopened(store).read("hello") == Record(suspended=True, generation=4)
