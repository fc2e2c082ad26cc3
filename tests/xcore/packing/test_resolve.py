"""Dependencies become a lock, or one sentence says why not."""

import pytest

from tests.support import manifest
from tests.wheels import LINUX_313
from xcore.errors import DependenciesUnresolved, IndexUnavailable, InvalidBundle, InvalidManifest, InvalidSpec
from xcore.packing import lock as locks
from xcore.packing.resolve import resolve
from xcore.packing.uv import Cancelled


def pinned(lock):
    return [pin.requirement.partition(" ;")[0] for pin in lock.pins]


def test_a_lock_names_every_package_with_its_hashes(index, lock):
    index.add("leaf", "1.0")
    index.add("good", "2.0", requires=["leaf>=1"])
    made = lock("good>=1")
    assert pinned(made) == ["good==2.0", "leaf==1.0"]
    assert all(digest.startswith("sha256:") for pin in made.pins for digest in pin.hashes)
    assert locks.read(str(made).encode()) == made


def test_what_a_lock_pins_stays_until_somebody_asks_for_newer(index, lock):
    index.add("good", "1.0")
    before = lock("good")
    index.add("good", "2.0")
    index.add("other")
    assert pinned(lock("good", "other", before=before)) == ["good==1.0", "other==1.0"]
    assert pinned(lock("good", "other")) == ["good==2.0", "other==1.0"]


def test_what_the_sandbox_has_itself_is_named_and_not_packed(index, lock):
    index.add("click", "8.5.1")
    index.add("click", "9.0")
    index.add("tool", requires=["click>=8"])
    made = lock("tool")
    assert pinned(made) == ["tool==1.0"]
    assert made.provided == {"click": "8.5.1"}


def refused(lock, *dependencies):
    with pytest.raises(DependenciesUnresolved) as caught:
        lock(*dependencies)
    return str(caught.value)


def test_a_plugin_that_needs_another_version_than_the_sandbox_has_is_told_both(index, lock):
    index.add("click", "7.0")
    index.add("click", "8.5.1")
    index.add("old", requires=["click<8"])
    assert refused(lock, "old") == (
        "Because all versions of old depend on click<8 and click==8.5.1, we can conclude that all versions of old cannot"
        " be used. And because you require old, we can conclude that your requirements are unsatisfiable."
        " The sandbox itself has click 8.5.1: no other version can be packed."
    )


def test_requirements_that_contradict_each_other_are_both_named(index, lock):
    index.add("leaf", "1.0")
    index.add("first", requires=["leaf<1"])
    said = refused(lock, "first", "leaf>=1")
    assert "leaf<1" in said
    assert "leaf>=1" in said


@pytest.mark.parametrize(
    ("dependency", "sentence"),
    [
        ("nosuch", "nosuch was not found"),
        ("good>=3", "only good==1.0 is available"),
        ("windows", "windows==1.0 has no Linux-compatible wheels"),
        ("yanked", "yanked==1.0 was yanked (reason: it deletes files)"),
        ("yanked==1.0", '`yanked==1.0` is yanked (reason: "it deletes files")'),
        ("source", "source==1.0 has no usable wheels"),
    ],
)
def test_what_cannot_be_had_is_named(index, lock, dependency, sentence):
    index.add("good")
    index.add("yanked", yanked="it deletes files")
    index.add("windows", tag="cp313-cp313-win_amd64")
    source = index.root / "files" / "source-1.0.tar.gz"
    source.write_bytes(b"never opened")
    index.offer(source)
    said = refused(lock, dependency)
    assert sentence in said
    assert str(index.root) not in said


@pytest.mark.parametrize(
    "dependency",
    [
        "good @ https://example.com/good.whl",
        "good @ file:///etc/passwd",
        "./good",
        "folder/good.whl",
        "-r other.txt",
        "good --index-url https://example.com",
        "good; python_version > '3' --hash=sha256:0 \\",
        "${HOME}",
        "good=1",
    ],
)
def test_only_names_and_versions_are_requirements(dependency):
    with pytest.raises(InvalidManifest) as caught:
        manifest(dependencies=["good", dependency])
    (problem,) = caught.value.problems
    assert problem.field == "spec.dependencies[1]"
    assert "no URL, no path" in problem.message


def test_a_marker_that_means_nothing_is_shown(lock):
    with pytest.raises(InvalidSpec, match=r"spec\.dependencies cannot be read: .*found `nonsense`"):
        lock("good; nonsense > '1'")


def test_an_index_that_is_away_is_said_without_its_address(lock, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://somebody:s3cret@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(IndexUnavailable) as caught:
        lock("good")
    assert str(caught.value) == "the package index cannot be reached, and not all packages are in uv's cache"


def test_a_lock_holds_no_more_packages_than_may_be(index, lock, monkeypatch):
    monkeypatch.setattr(locks, "MAX_PACKAGES", 2)
    names = [index.add(name) and name for name in ("a", "b", "c")]
    with pytest.raises(InvalidBundle, match="stand for 3 packages; at most 2 are packed"):
        lock(*names)


def test_time_is_bounded(index):
    with pytest.raises(IndexUnavailable, match="were not packed within 0 s"):
        resolve(manifest(dependencies=["good"]), None, {}, index.job(seconds=0))


def test_a_resolution_nobody_waits_for_ends(index):
    job = index.job()
    job.cancel()
    with pytest.raises(Cancelled):
        resolve(manifest(dependencies=["good"]), None, {}, job)


def test_a_wheel_for_one_python_alone_is_locked_for_whoever_has_that(index, lock):
    index.add("compiled", tag=LINUX_313)
    assert pinned(lock("compiled")) == ["compiled==1.0"]
