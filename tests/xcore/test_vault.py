"""The vault: secrets are read as their operator laid them down, and a change of one is a new revision."""

import os

import pytest

from tests.support import manifest
from tests.xcore.test_sources import plugin
from xcore.errors import SecretNotFound
from xcore.instance_spec import SecretRef
from xcore.loader import Declared
from xcore.vault import MAX_BYTES, MAX_KEYS, Vault


@pytest.fixture
def secrets(tmp_path):
    def write(**files):
        for path, value in files.items():
            target = tmp_path / path.replace("__", "/")
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(value if isinstance(value, bytes) else value.encode())

    write.directory = tmp_path
    write.vault = Vault(tmp_path, b"pepper")
    return write


def read(secrets, name, key=None):
    return secrets.vault.read([SecretRef(name=name, key=key)])


async def sealed(secrets, *refs):
    declared = Declared("hello", manifest(secrets=list(refs)), revision="r1")
    prepared = await secrets.vault.prepare(declared, lambda _: None)
    return prepared.seal


def test_a_secret_gives_all_its_keys_and_a_key_only_itself(secrets):
    secrets(db__user="ada", db__password=b"\xff\n", other__key="x")
    assert read(secrets, "db") == {"db/user": b"ada", "db/password": b"\xff\n"}
    assert read(secrets, "db", "user") == {"db/user": b"ada"}


def test_what_is_no_key_is_left_out(secrets):
    secrets(db__user="ada")
    for odd in ("..data", "with space", "ü"):
        (secrets.directory / "db" / odd).write_text("no")
    (secrets.directory / "db" / "folder").mkdir()
    assert read(secrets, "db") == {"db/user": b"ada"}


@pytest.mark.parametrize(
    ("name", "key", "says"),
    [
        ("nothing", None, "there is no secret nothing"),
        ("db", "nothing", "there is no secret db with the key nothing"),
        ("big", None, f"the secret big holds over {MAX_BYTES} bytes"),
        ("many", None, f"the secret many has {MAX_KEYS + 1} keys; at most {MAX_KEYS} are read"),
        ("open", None, "others may write to the secret open/key: chmod o-w it"),
        ("file", None, "the secret file cannot be read: Not a directory"),
    ],
)
def test_what_cannot_be_handed_over_is_refused_with_a_sentence(secrets, name, key, says):
    secrets(db__user="ada", big__a=b"1" * MAX_BYTES, big__b="2", open__key="x")
    secrets(**{f"many__k{number}": "v" for number in range(MAX_KEYS + 1)})
    (secrets.directory / "open" / "key").chmod(0o606)
    (secrets.directory / "file").write_text("not a folder")
    with pytest.raises(SecretNotFound) as refused:
        read(secrets, name, key)
    assert refused.value.detail == says
    assert os.fspath(secrets.directory) not in refused.value.detail


def test_a_plugin_that_names_none_needs_nothing(secrets):
    assert secrets.vault.key(plugin()) is None


async def test_a_seal_changes_with_a_value_and_with_nothing_else(secrets):
    secrets(db__user="ada", other__key="x")
    before = await sealed(secrets, {"name": "db"})
    assert before == await sealed(secrets, {"name": "db"})
    secrets(other__key="y")
    assert before == await sealed(secrets, {"name": "db"})
    secrets(db__user="bob")
    assert before != await sealed(secrets, {"name": "db"})


async def test_a_seal_tells_nothing_without_the_pepper(secrets):
    secrets(db__user="ada")
    other = Vault(secrets.directory, b"another")
    declared = Declared("hello", manifest(secrets=[{"name": "db"}]), revision="r1")
    prepared = await other.prepare(declared, lambda _: None)
    assert prepared.seal != await sealed(secrets, {"name": "db"})
