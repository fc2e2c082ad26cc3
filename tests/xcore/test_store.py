"""The store: a document is whole or not there, whatever happens while it is written."""

import os
import stat
from pathlib import Path

import pytest

from xcore.errors import StorageFull
from xcore.store import FileStore, MemoryStore, write_private


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    return FileStore(tmp_path / "state") if request.param == "file" else MemoryStore()


def test_what_was_written_is_read_until_it_is_deleted(store):
    assert store.read("plugins", "hello") is None
    store.write("plugins", "hello", {"a": [1, None, "ü"]})
    store.write("plugins", "other", {})
    assert store.read("plugins", "hello") == {"a": [1, None, "ü"]}
    store.delete("plugins", "hello")
    store.delete("plugins", "hello")
    assert store.read("plugins", "hello") is None
    assert store.read("plugins", "other") == {}


def test_documents_are_for_their_owner_alone(tmp_path):
    FileStore(tmp_path / "state").write("plugins", "hello", {})
    path = tmp_path / "state" / "plugins" / "hello.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_document_and_nothing_else(tmp_path, monkeypatch, step):
    store = FileStore(tmp_path)
    store.write("plugins", "hello", {"version": "old"})

    class Crash(BaseException):
        pass

    def crash(*_args, **_kwargs):
        raise Crash

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", crash)
    elif step == "replace":
        monkeypatch.setattr(Path, "replace", crash)
    else:
        monkeypatch.setattr(os, "fdopen", crash)
    with pytest.raises(Crash):
        store.write("plugins", "hello", {"version": "new"})
    monkeypatch.undo()
    assert store.read("plugins", "hello") == {"version": "old"}
    assert [p.name for p in (tmp_path / "plugins").iterdir()] == ["hello.json"]


def test_a_full_disk_is_told_and_keeps_the_old_document(tmp_path, monkeypatch):
    store = FileStore(tmp_path)
    store.write("plugins", "hello", {"version": "old"})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match="No space left"):
        store.write("plugins", "hello", {"version": "new"})
    monkeypatch.undo()
    assert store.read("plugins", "hello") == {"version": "old"}


def test_what_cannot_be_deleted_is_told(tmp_path):
    (tmp_path / "plugins" / "hello.json").mkdir(parents=True)
    with pytest.raises(StorageFull):
        FileStore(tmp_path).delete("plugins", "hello")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{" * 100])
def test_what_cannot_be_read_is_kept_aside_and_counts_as_not_there(tmp_path, content):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "hello.json").write_bytes(content)
    store = FileStore(tmp_path)
    assert store.read("plugins", "hello") is None
    assert (tmp_path / "plugins" / "hello.unreadable.json").read_bytes() == content
    store.write("plugins", "hello", {"a": 1})
    assert store.read("plugins", "hello") == {"a": 1}


def test_a_document_that_is_no_mapping_counts_as_not_there(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "hello.json").write_text("[1]")
    assert FileStore(tmp_path).read("plugins", "hello") is None


def test_a_private_file_replaces_a_link_instead_of_following_it(tmp_path):
    target, link = tmp_path / "elsewhere", tmp_path / "key"
    target.write_text("mine")
    link.symlink_to(target)
    write_private(link, b"new")
    assert target.read_text() == "mine"
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"
