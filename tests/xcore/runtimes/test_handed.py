"""Handing over: an instance gets its secrets as files that nobody may change, and nothing of them stays behind."""

import os
import stat

import pytest

from xcore.errors import SecretNotFound
from xcore.instance_spec import SecretRef
from xcore.runtimes.handed import Handed, no_secrets

VALUES = {"db/user": b"ada", "db/password": b"\xff"}


def found(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("owner", [None, (os.geteuid(), os.getegid())])
def test_each_value_is_a_file_that_nobody_may_write(tmp_path, owner):
    made = Handed(tmp_path / "handed").give("i1", VALUES, owner=owner)
    assert found(made) == VALUES
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (made, *made.rglob("*"))}
    assert not any(mode & 0o222 for mode in modes)
    assert any(mode & 0o007 for mode in modes) == (owner is None)
    assert stat.S_IMODE((tmp_path / "handed").stat().st_mode) == 0o700


def test_who_names_no_secret_gets_no_directory(tmp_path):
    assert Handed(tmp_path / "handed").give("i1", {}, owner=None) is None
    assert not (tmp_path / "handed").exists()


def test_what_was_handed_over_goes_with_its_instance_and_the_rest_with_a_sweep(tmp_path):
    handed = Handed(tmp_path / "handed")
    made = [handed.give(name, VALUES, owner=None) for name in ("a", "b", "c")]
    handed.take_back("a")
    handed.sweep(frozenset({"b"}))
    assert [directory.exists() for directory in made] == [False, True, False]


def test_where_nobody_keeps_secrets_naming_one_is_refused():
    assert no_secrets([]) == {}
    with pytest.raises(SecretNotFound, match="there is no secret db"):
        no_secrets([SecretRef(name="db")])
