"""Snapshots: what existed at one moment, addressed by its content, without anything that is no plain file."""

import os
import time

import pytest

from tests.support import manifest, write_plugin
from xcore import bundle
from xcore.bundle import COLLECT_AFTER, MAX_DEPTH, MAX_FILES, Snapshots, revision, survey
from xcore.errors import InvalidBundle, StorageFull


@pytest.fixture
def snapshots(tmp_path):
    return Snapshots(tmp_path / "snapshots")


@pytest.fixture
def folder(tmp_path):
    return write_plugin(tmp_path / "hello", files={"data/words.txt": "one two", "bin/run": "#!/bin/sh"})


def content(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_snapshot_holds_the_folders_files_and_not_its_manifest(snapshots, folder):
    digest, code = snapshots.take(folder)
    assert code == snapshots.path(digest)
    assert set(content(code)) == {"main.py", "data/words.txt", "bin/run"}
    assert content(code)["data/words.txt"] == b"one two"


def test_everybody_may_read_a_snapshot_and_what_was_executable_still_is(snapshots, folder):
    (folder / "bin" / "run").chmod(0o700)
    (folder / "main.py").chmod(0o600)
    (folder / "data").chmod(0o700)
    before = os.umask(0o077)
    try:
        _, code = snapshots.take(folder)
    finally:
        os.umask(before)
    modes = {str(p.relative_to(code)): p.stat().st_mode & 0o7777 for p in code.rglob("*")}
    assert modes == {"main.py": 0o644, "bin": 0o755, "bin/run": 0o755, "data": 0o755, "data/words.txt": 0o644}
    assert code.stat().st_mode & 0o7777 == 0o755


def test_the_same_content_has_the_same_digest_wherever_and_whenever_it_lies(snapshots, folder, tmp_path):
    digest, code = snapshots.take(folder)
    twin = write_plugin(tmp_path / "twin", files={"data/words.txt": "one two", "bin/run": "#!/bin/sh"})
    os.utime(twin / "main.py", (1, 1))
    assert snapshots.take(twin) == (digest, code)
    assert len(list(snapshots.directory.iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "main.py").write_text("other"),
        lambda f: (f / "main.py").rename(f / "name.py"),
        lambda f: (f / "main.py").chmod(0o755),
        lambda f: (f / "more.txt").write_text(""),
        lambda f: (f / "data" / "words.txt").unlink(),
    ],
)
def test_any_change_of_content_name_or_mode_is_another_digest(snapshots, folder, change):
    before, _ = snapshots.take(folder)
    change(folder)
    assert snapshots.take(folder)[0] != before


def test_moving_bytes_from_one_file_to_the_next_is_another_digest(snapshots, tmp_path):
    one = write_plugin(tmp_path / "one", "", files={"a": "xy", "b": "z"})
    two = write_plugin(tmp_path / "two", "", files={"a": "x", "b": "yz"})
    assert snapshots.take(one)[0] != snapshots.take(two)[0]


def test_editing_the_manifest_alone_does_not_change_the_codes_digest(snapshots, folder):
    digest, _ = snapshots.take(folder)
    (folder / "plugin.yaml").write_text("anything")
    assert snapshots.take(folder)[0] == digest


def test_what_rolls_makes_a_new_revision_and_what_does_not_makes_none():
    before = revision("digest", manifest())
    assert revision("other", manifest()) != before
    assert revision("digest", manifest("other")) != before
    for rolls in ({"version": "2.0.0"}, {"env": [{"name": "A"}]}, {"resources": {"memory": "64Mi"}}):
        assert revision("digest", manifest(**rolls)) != before
    for stays in (
        {"traffic": {"maxConcurrentRequests": 1}},
        {"probes": {"liveness": {"periodSeconds": 5}}},
        {"restart": {"policy": "Never"}},
        {"description": "other"},
    ):
        assert revision("digest", manifest(**stays)) == before


def test_caches_and_version_control_are_left_out(snapshots, folder):
    before, _ = snapshots.take(folder)
    for name in ("__pycache__/main.pyc", ".git/config", ".venv/bin/python", "data/.mypy_cache/x", "main.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / ".venv" / "link").symlink_to("/etc")
    assert snapshots.take(folder)[0] == before


def link(folder):
    (folder / "data" / "passwd").symlink_to("/etc/passwd")


def linked_folder(folder):
    (folder / "etc").symlink_to("/etc")


def fifo(folder):
    os.mkfifo(folder / "pipe")


def too_deep(folder):
    deep = folder.joinpath(*["d"] * (MAX_DEPTH + 1))
    deep.mkdir(parents=True)


def too_many(folder):
    for number in range(MAX_FILES):
        (folder / f"f{number}").touch()


def far_too_many(folder):
    for number in range(MAX_FILES * 2 + 2):
        (folder / f"f{number}").touch()


def too_big(folder):
    with (folder / "big").open("wb") as file:
        file.truncate(bundle.MAX_BYTES)


def odd_name(folder):
    (folder / "line\nbreak").touch()


def long_name(folder):
    folder.joinpath("a" * 200, "b" * 100).mkdir(parents=True)
    folder.joinpath("a" * 200, "b" * 100, "c").touch()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (link, "data/passwd is a link, a device or a pipe"),
        (linked_folder, "etc is a link"),
        (fifo, "pipe is a link, a device or a pipe"),
        (too_deep, "nested deeper than 16"),
        (too_many, "at most 1000 are allowed"),
        (far_too_many, "far more than 1000 files"),
        (too_big, "at most 67108864 are allowed"),
        (odd_name, "is not a plain name"),
        (long_name, "is not a plain name"),
    ],
)
def test_what_may_not_be_in_a_bundle_is_refused_by_name_and_nothing_is_kept(snapshots, folder, make, says):
    make(folder)
    with pytest.raises(InvalidBundle, match=says):
        snapshots.take(folder)
    assert list(snapshots.directory.iterdir()) == []


def test_a_device_is_refused_too(snapshots, folder):
    try:
        os.mknod(folder / "device", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        os.mkfifo(folder / "device")  # only root makes devices; a pipe goes the same way
    with pytest.raises(InvalidBundle, match="device is a link, a device or a pipe"):
        snapshots.take(folder)


def test_a_folder_that_changed_while_it_was_copied_is_copied_again(snapshots, folder, monkeypatch):
    copy, times = bundle._copy, []

    def changing(source, entries, staging):
        digest = copy(source, entries, staging)
        times.append(1)
        if len(times) < 3:
            (source / "main.py").write_text(f"edit {len(times)}")
        return digest

    monkeypatch.setattr(bundle, "_copy", changing)
    _, code = snapshots.take(folder)
    assert (code / "main.py").read_text() == "edit 2"
    assert len(list(snapshots.directory.iterdir())) == 1


def test_a_file_that_goes_away_while_it_is_read_is_no_error(snapshots, folder, monkeypatch):
    listed, times = bundle.survey, []

    def vanishing(source):
        entries = listed(source)
        if not times:
            (source / "data" / "words.txt").unlink()
        times.append(1)
        return entries

    monkeypatch.setattr(bundle, "survey", vanishing)
    assert set(content(snapshots.take(folder)[1])) == {"main.py", "bin/run"}


def test_a_folder_that_never_rests_is_refused(snapshots, folder, monkeypatch):
    copy, times = bundle._copy, []

    def changing(source, entries, staging):
        times.append(1)
        (source / "main.py").write_text(f"edit {len(times)}")
        return copy(source, survey(source), staging)

    monkeypatch.setattr(bundle, "_copy", changing)
    with pytest.raises(InvalidBundle, match="keeps changing"):
        snapshots.take(folder)
    assert list(snapshots.directory.iterdir()) == []


@pytest.mark.parametrize("swapped", ["main.py", "data"])
def test_a_file_or_folder_swapped_for_a_link_between_listing_and_reading_is_never_followed(
    snapshots, folder, tmp_path, monkeypatch, swapped
):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "words.txt").write_text("one two")  # of the same size even
    listed, times = bundle.survey, []

    def swapping(source):
        entries = listed(source) if not times else []
        times.append(1)
        if len(times) == 1:
            (source / swapped).rename(tmp_path / "aside")
            target = secret if swapped == "data" else secret / "words.txt"
            (source / swapped).symlink_to(target)
        return entries

    monkeypatch.setattr(bundle, "survey", swapping)
    try:
        _, code = snapshots.take(folder)
    except InvalidBundle:
        return
    assert content(code) == {}, "nothing of what was swapped is in it"


def test_no_room_is_told_as_such(snapshots, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "_copy", full)
    with pytest.raises(StorageFull, match="no room"):
        snapshots.take(folder)
    assert list(snapshots.directory.iterdir()) == []


def test_a_state_directory_that_cannot_be_made_is_told(tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFull):
        Snapshots(tmp_path / "file" / "snapshots").take(folder)


def test_a_file_that_cannot_be_read_is_told_without_its_path(snapshots, folder, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied", str(folder / "main.py"))

    monkeypatch.setattr(bundle, "_copy", denied)
    with pytest.raises(InvalidBundle) as refused:
        snapshots.take(folder)
    assert str(folder) not in str(refused.value)


def test_snapshots_nobody_uses_are_collected_and_those_just_taken_are_not(snapshots, folder):
    assert snapshots.collect(frozenset()) == []
    used, _ = snapshots.take(folder)
    (folder / "main.py").write_text("two")
    old, _ = snapshots.take(folder)
    (folder / "main.py").write_text("three")
    young, _ = snapshots.take(folder)
    (snapshots.directory / ".staging-crashed").mkdir()
    then = time.time() - COLLECT_AFTER - 1
    for name in (used, old, ".staging-crashed"):
        os.utime(snapshots.directory / name, (then, then))
    assert set(snapshots.collect(frozenset({used}))) == {old, ".staging-crashed"}
    assert {p.name for p in snapshots.directory.iterdir()} == {used, young}


def test_a_snapshot_that_is_taken_again_is_young_again(snapshots, folder):
    digest, code = snapshots.take(folder)
    os.utime(code, (1, 1))
    snapshots.take(folder)
    assert snapshots.collect(frozenset()) == []
    assert snapshots.path(digest).is_dir()
