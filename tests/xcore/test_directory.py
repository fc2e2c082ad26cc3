"""Which folder speaks for which name."""

from hypothesis import given, strategies as st

from tests.support import manifest
from xcore.declare import door
from xcore.directory import assign
from xcore.errors import Conflict, InvalidSpec, RouteConflict
from xcore.loader import Declared


def item(folder, name=None):
    if name is None:
        return Declared(folder, error=InvalidSpec("cannot be read"))
    return Declared(folder, manifest(name))


def owners(*declared, held=None, known=None):
    directory = assign(declared, held or {}, (known or {}).get)
    return {name: d.folder for name, d in directory.owners.items()}, directory.misfits


def test_the_first_folder_in_order_gets_a_name_and_the_other_is_told_who_has_it():
    got, misfits = owners(item("b", "hello"), item("a", "hello"))
    assert got == {"hello": "a"}
    assert isinstance(misfits["b"], RouteConflict)
    assert "the folder a already has the name hello" in str(misfits["b"])


def test_who_else_wants_a_name_is_known_by_the_name():
    """In words: the owner's status tells of it."""
    sent = Declared(door("hello"), manifest("hello"))
    directory = assign([item("b", "hello"), sent, item("c", "hello")], {door("hello"): "hello"}, {}.get)
    assert directory.owners["hello"] is sent
    assert directory.rivals == {"hello": ["the folder b", "the folder c"]}
    assert assign([item("a", "hello"), sent], {}, {}.get).rivals == {
        "hello": ["a plugin sent through the API"]
    }


def test_whoever_has_a_name_keeps_it_also_over_a_restart_of_the_controller():
    for memory in ({"held": {"z": "hello"}}, {"known": {"z": "hello"}}):
        got, misfits = owners(item("a", "hello"), item("z", "hello"), **memory)
        assert got == {"hello": "z"}
        assert set(misfits) == {"a"}


def test_a_folder_that_cannot_be_read_keeps_the_name_it_had():
    assert owners(item("a"), held={"a": "hello"}) == ({"hello": "a"}, {})
    assert owners(item("a"), known={"a": "hello"}) == ({"hello": "a"}, {})


def test_a_folder_that_never_could_be_read_is_a_misfit_with_its_own_error():
    got, misfits = owners(item("a"))
    assert got == {}
    assert isinstance(misfits["a"], InvalidSpec)
    assert isinstance(owners(Declared("a"))[1]["a"], Conflict)


def test_a_resource_that_cannot_be_read_has_its_own_name_all_the_same():
    """It is told under it, and the younger of that name is refused as ever."""
    broken = Declared("space/hello", error=InvalidSpec("cannot be read"), name="hello", since="1")
    got, misfits = owners(broken, Declared("other/hello", manifest("hello"), since="2"))
    assert got == {"hello": "space/hello"}
    assert "the resource space/hello already has the name hello" in str(misfits["other/hello"])


def test_of_two_resources_of_one_second_every_replica_takes_the_same():
    """Whichever was heard of first; what a folder has it keeps, and what resources have no new folder takes."""
    one, two = (Declared(f"{space}/hello", manifest("hello"), since="1") for space in ("one", "two"))
    folder = item("a", "hello")
    for held in ({}, {"two/hello": "hello"}, {"one/hello": "hello"}):
        assert owners(two, one, held=held)[0] == {"hello": "one/hello"}
    assert owners(two, one, folder, held={"a": "hello"})[0] == {"hello": "a"}
    assert owners(two, one, folder, held={"two/hello": "hello"})[0] == {"hello": "one/hello"}
    assert owners(two, one, folder)[0] == {"hello": "a"}


def test_a_folder_that_reaches_for_the_name_of_another_keeps_its_own_plugin_and_is_told():
    held = {"a": "one", "b": "two"}
    directory = assign([item("a", "two"), item("b", "two")], held, held.get)
    assert directory.misfits == {}
    assert directory.owners["two"].folder == "b"
    assert directory.owners["one"].folder == "a"
    assert isinstance(directory.owners["one"].error, RouteConflict)


def test_a_folder_may_take_another_name():
    assert owners(item("a", "new"), held={"a": "old"}) == ({"new": "a"}, {})


def test_two_folders_may_not_exchange_their_names_by_halves():
    held = {"a": "one", "b": "two"}
    got, misfits = owners(item("a", "two"), item("b", "one"), held=held)
    assert set(got) == {"one", "two"}
    assert misfits == {}


letters = st.sampled_from("abcd")
folders = st.dictionaries(letters, st.none() | st.sampled_from(["one", "two", "three"]), max_size=4)


@given(folders, st.dictionaries(letters, st.sampled_from(["one", "two", "three", "four"]), max_size=4))
def test_every_folder_is_accounted_for_once_and_every_name_has_one_owner(declared, held):
    items = [item(folder, name) for folder, name in declared.items()]
    directory = assign(items, held, held.get)
    told = [d.folder for d in directory.owners.values()] + list(directory.misfits)
    assert sorted(told) == sorted(declared)
    for name, owner in directory.owners.items():
        if owner.error is None:
            assert owner.manifest.metadata.name == name
