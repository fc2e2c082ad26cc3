"""Plugin folders: what each declares, or why not; and what is unchanged costs nothing."""

import os
import shutil

import pytest

from tests.support import write_plugin
from xcore import loader as module
from xcore.bundle import Snapshots
from xcore.errors import InvalidBundle, InvalidSpec, StorageFull
from xcore.loader import Loader


@pytest.fixture
def loader(tmp_path):
    (tmp_path / "plugins").mkdir()
    return Loader(tmp_path / "plugins", Snapshots(tmp_path / "snapshots"))


def test_every_folder_with_a_manifest_is_declared_in_the_order_of_names(loader):
    write_plugin(loader.directory / "b")
    write_plugin(loader.directory / "a", name="other")
    (loader.directory / "empty").mkdir()
    (loader.directory / "file.txt").write_text("")
    declared = loader.scan()
    assert [(d.folder, d.manifest.metadata.name, d.error) for d in declared] == [
        ("a", "other", None),
        ("b", "b", None),
    ]
    assert all((d.code / "main.py").is_file() for d in declared)
    assert len({d.revision for d in declared}) == 2
    assert len({d.digest for d in declared}) == 1


def test_an_unchanged_folder_is_not_read_again(loader, monkeypatch):
    write_plugin(loader.directory / "hello")
    first = loader.scan()
    monkeypatch.setattr(Snapshots, "take", None)
    monkeypatch.setattr(module, "parse", None)
    assert loader.scan()[0] is first[0]


def test_an_edit_of_the_code_is_a_new_revision_and_one_of_the_manifest_is_the_same_code(loader):
    folder = write_plugin(loader.directory / "hello")
    [before] = loader.scan()
    write_plugin(folder, "print(1)")
    [edited] = loader.scan()
    assert edited.digest != before.digest
    assert edited.revision != before.revision
    write_plugin(folder, "print(1)", description="better")
    [described] = loader.scan()
    assert (described.digest, described.revision) == (edited.digest, edited.revision)
    assert described.manifest != edited.manifest


def test_a_snapshot_that_was_collected_is_taken_again(loader):
    write_plugin(loader.directory / "hello")
    [before] = loader.scan()
    shutil.rmtree(before.code)
    [after] = loader.scan()
    assert after.code == before.code
    assert after.code.is_dir()


def test_the_code_may_lie_in_a_folder_of_its_own(loader):
    write_plugin(loader.directory / "hello", files={"src/main.py": "x = 1"}, source={"folder": "src"})
    [declared] = loader.scan()
    assert [p.name for p in declared.code.iterdir()] == ["main.py"]


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda f: (f / "plugin.yaml").write_text("kind: ["), InvalidSpec),
        (lambda f: (f / "plugin.yaml").write_text(" " * 70_000), InvalidSpec),
        (lambda f: (f / "plugin.yaml").write_bytes(b"\xff"), InvalidSpec),
        (lambda f: (f / "link").symlink_to("/etc"), InvalidBundle),
    ],
)
def test_a_folder_that_is_wrong_says_why_and_does_not_touch_the_others(loader, spoil, error):
    spoil(write_plugin(loader.directory / "bad"))
    write_plugin(loader.directory / "good")
    bad, good = loader.scan()
    assert isinstance(bad.error, error)
    assert good.error is None


@pytest.mark.parametrize("how", ["link", "pipe", "folder", "dangling"])
def test_a_manifest_that_is_no_plain_file_is_refused_and_never_waited_for(loader, tmp_path, how):
    folder = write_plugin(loader.directory / "hello")
    path = folder / "plugin.yaml"
    aside = tmp_path / "plugin.yaml"
    path.rename(aside)
    {
        "link": lambda: path.symlink_to(aside),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "dangling": lambda: path.symlink_to(tmp_path / "nowhere"),
    }[how]()
    [declared] = loader.scan()
    assert isinstance(declared.error, InvalidBundle)
    assert str(tmp_path) not in str(declared.error)


def test_code_behind_a_link_is_refused(loader, tmp_path):
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "main.py").write_text("x = 1")
    for source in ("src", "src/deep"):
        folder = write_plugin(loader.directory / "hello", source={"folder": source})
        (folder / "src").unlink(missing_ok=True)
        (folder / "src").symlink_to(outside)
        [declared] = loader.scan()
        assert isinstance(declared.error, InvalidBundle)
        assert "src is a link" in str(declared.error)


def test_a_source_folder_that_is_not_there_is_refused(loader):
    write_plugin(loader.directory / "hello", source={"folder": "nowhere"})
    [declared] = loader.scan()
    assert isinstance(declared.error, InvalidBundle)


def test_a_copy_for_which_there_is_no_room_is_told_and_tried_again(loader, monkeypatch):
    write_plugin(loader.directory / "hello")

    def full(*_):
        raise StorageFull("no room")

    monkeypatch.setattr(Snapshots, "take", full)
    [declared] = loader.scan()
    assert isinstance(declared.error, StorageFull)
    assert declared.manifest.metadata.name == "hello"
    monkeypatch.undo()
    assert loader.scan()[0].error is None


def test_a_folder_that_is_repaired_is_declared_again(loader):
    folder = write_plugin(loader.directory / "hello")
    [before] = loader.scan()
    good = (folder / "plugin.yaml").read_text()
    (folder / "plugin.yaml").write_text("kind: [")
    assert loader.scan()[0].error
    (folder / "plugin.yaml").write_text(good)
    assert loader.scan() == [before]


def test_a_plugins_directory_that_cannot_be_read_or_holds_too_much_is_told(loader, monkeypatch):
    write_plugin(loader.directory / "a")
    write_plugin(loader.directory / "b")
    monkeypatch.setattr(module, "MAX_FOLDERS", 1)
    with pytest.raises(InvalidSpec, match="at most 1"):
        loader.scan()
    shutil.rmtree(loader.directory)
    loader.directory.write_text("a file")
    with pytest.raises(InvalidSpec, match="cannot be read"):
        loader.scan()


def test_a_plugins_directory_that_is_not_there_yet_is_empty_and_told_once(loader, caplog):
    """A fresh start needs none: plugins may be sent."""
    loader.directory.rmdir()
    assert (loader.scan(), loader.scan()) == ([], [])
    assert [record.message.partition(" yet:")[0] for record in caplog.records] == [
        f"there is no plugins directory {loader.directory}"
    ]
    write_plugin(loader.directory / "a")
    assert [declared.folder for declared in loader.scan()] == ["a"]


def test_a_plugins_directory_that_is_gone_is_no_order_to_remove_what_it_held(loader):
    """Neither while the controller runs nor at its next start; made again, it is believed."""
    write_plugin(loader.directory / "a")
    loader.scan()
    shutil.rmtree(loader.directory)
    for one in (loader, Loader(loader.directory, loader.snapshots, expected=True)):
        with pytest.raises(InvalidSpec, match="is gone"):
            one.scan()
    loader.directory.mkdir()
    assert loader.scan() == []
