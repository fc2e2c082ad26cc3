"""Sites are made once, are the same whoever makes them, share what they have in common, and leave nothing behind."""

import os
import shutil
import stat
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.wheels import LINUX_313
from xcore.errors import DependenciesUnresolved, IndexUnavailable, InvalidBundle, StorageFull
from xcore.packing import sites as module, unpack, uv
from xcore.packing.sites import COLLECT_AFTER, Sites
from xcore.packing.target import Target
from xcore.packing.uv import Cancelled

NEW, OLD = Target("3.13", "x86_64-manylinux_2_28"), Target("3.11", "x86_64-manylinux_2_28")


@pytest.fixture
def sites(tmp_path):
    return Sites(tmp_path / "state" / "sites", {"click", "xcore", "sandbox_image"})


def shown(site):
    """Every path below a site with its mode and content."""
    return {
        str(path.relative_to(site)): (oct(path.stat().st_mode), path.is_file() and path.read_bytes())
        for path in sorted(site.rglob("*"))
    }


def left(sites):
    """What lies beside finished sites and the files they share."""
    return [path.name for path in sites.directory.glob(".staging-*")]


def test_a_site_holds_what_can_be_imported_and_nothing_an_installer_noted(index, lock, sites):
    script = "[console_scripts]\ntool = tool:main\n"
    index.add(
        "tool",
        files={
            "tool/__init__.py": "x = 1",
            "tool/data.txt": "hello",
            "tool/__pycache__/old.pyc": "old",
            "tool-1.0.dist-info/entry_points.txt": script,
            "tool-1.0.data/scripts/run.sh": "#!python\n",
        },
    )
    site = sites.take(lock("tool"), NEW, index.job())
    held = shown(site)
    assert sorted(name for name, (_, content) in held.items() if content is not False) == [
        "tool-1.0.dist-info/METADATA",
        "tool-1.0.dist-info/WHEEL",
        "tool-1.0.dist-info/entry_points.txt",
        "tool/__init__.py",
        "tool/data.txt",
    ]
    assert {mode for mode, _ in held.values()} == {oct(stat.S_IFDIR | 0o755), oct(stat.S_IFREG | 0o644)}


def test_the_same_lock_gives_the_same_bytes_anywhere(index, lock, sites, tmp_path):
    index.add("tool", requires=["leaf"])
    index.add("leaf")
    made = lock("tool")
    site = sites.take(made, NEW, index.job())
    shutil.rmtree(index.root / "cache")
    other = Sites(tmp_path / "elsewhere").take(made, NEW, index.job())
    assert (site.name, shown(site)) == (other.name, shown(other))


def test_a_site_is_made_from_the_cache_when_the_index_is_away(index, lock, sites, monkeypatch):
    index.add("tool")
    made = lock("tool")
    sites.take(made, NEW, index.job())
    monkeypatch.setenv("UV_OFFLINE", "1")
    assert Sites(sites.directory.parent / "other").take(made, NEW, index.job()).is_dir()


def test_an_index_that_is_away_and_a_cache_without_the_package_are_one_sentence(
    lock, index, sites, monkeypatch
):
    index.add("tool")
    made = lock("tool")
    shutil.rmtree(index.root / "cache")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(IndexUnavailable, match="cannot be reached, and not all packages are in uv's cache"):
        sites.take(made, NEW, index.job())
    assert left(sites) == []


@pytest.mark.parametrize("away", ["offline", "gone"])
def test_a_locked_package_that_cannot_be_had_any_more_is_no_conflict(index, lock, sites, monkeypatch, away):
    """It is named; uv itself says of both that there is no such version."""
    index.add("leaf")
    index.add("tool", "1.5", requires=["leaf"])
    made = lock("tool")
    shutil.rmtree(index.root / "cache")
    if away == "offline":
        monkeypatch.setenv("UV_OFFLINE", "1")
        monkeypatch.setenv("UV_DEFAULT_INDEX", "https://index.invalid/simple")
    else:
        (index.root / "simple/tool/index.html").write_text("")
    with pytest.raises(IndexUnavailable) as caught:
        sites.take(made, NEW, index.job())
    missing = {"offline": "leaf==1.0", "gone": "tool==1.5"}[away]
    sentence = f"the package index cannot be reached, or has {missing} no more; uv's cache does not have it"
    assert (caught.value.detail, left(sites)) == (sentence, [])


def test_a_site_that_is_there_is_found_without_uv(index, lock, sites, monkeypatch):
    index.add("tool")
    made = lock("tool")
    site = sites.take(made, NEW, index.job())
    monkeypatch.setattr(uv, "find_uv_bin", lambda: "/nowhere/uv")
    assert sites.take(made, NEW, index.job()) == site
    assert Sites(sites.directory).take(made, NEW, index.job()) == site


def test_a_site_is_made_whatever_comes_and_goes_beside_it(index, lock, sites):
    """A file of another staging that is gone once it was listed."""
    index.add("tool")
    beside = sites.directory / ".staging-other"
    beside.mkdir(parents=True)
    (beside / "gone").symlink_to("nowhere")
    assert (sites.take(lock("tool"), NEW, index.job()) / "tool.py").is_file()


def test_equal_files_of_different_sites_are_one_file(index, lock, sites):
    index.add("common", files={"common.py": "x = 1\n" * 1000})
    index.add("first")
    index.add("second")
    one, two = (sites.take(lock("common", name), NEW, index.job()) for name in ("first", "second"))
    assert one != two
    assert (one / "common.py").samefile(two / "common.py")


def test_each_python_gets_the_wheels_that_fit_it(index, lock, sites):
    index.add("compiled", files={"compiled.py": "for = 313"}, tag=LINUX_313)
    index.add("compiled", files={"compiled.py": "for = 311"}, tag="cp311-cp311-manylinux_2_17_x86_64")
    made = lock("compiled")
    assert (sites.take(made, NEW, index.job()) / "compiled.py").read_text() == "for = 313"
    assert (sites.take(made, OLD, index.job()) / "compiled.py").read_text() == "for = 311"


def test_a_package_without_a_wheel_for_this_python_is_named(index, lock, sites):
    index.add("compiled", tag=LINUX_313)
    with pytest.raises(DependenciesUnresolved, match=r"compiled==1\.0 has no wheels with a matching Python"):
        sites.take(lock("compiled"), OLD, index.job())
    assert left(sites) == []


def test_a_package_with_another_content_than_was_locked_is_refused(index, lock, sites):
    index.add("tool")
    made = lock("tool")
    index.add("tool", files={"tool.py": "evil = True"})
    shutil.rmtree(index.root / "cache")
    with pytest.raises(InvalidBundle, match="another hash than the lock says"):
        sites.take(made, NEW, index.job())
    assert left(sites) == []


@pytest.mark.parametrize(
    "name", ["xcore/plugin/__init__.py", "click.py", "sandbox_image/runner.py", "click.cpython-313.so"]
)
def test_a_package_that_would_stand_in_for_the_sandboxs_own_is_refused(index, lock, sites, name):
    index.add("evil", files={name: "x = 1"})
    with pytest.raises(InvalidBundle, match="which is the sandbox's own"):
        sites.take(lock("evil"), NEW, index.job())
    assert left(sites) == []


def test_a_wheel_reaches_nothing_outside_its_site(index, lock, sites, tmp_path):
    """Paths that climb or are absolute, links, and setuid bits are not followed, not kept."""
    link = zipfile.ZipInfo("odd/link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    setuid = zipfile.ZipInfo("odd/setuid")
    setuid.create_system, setuid.external_attr = 3, (stat.S_IFREG | 0o4755) << 16
    escape = str(tmp_path / "escaped")
    index.add("odd", raw=[("../../escaped", "x"), (escape, "x"), (link, "/etc/passwd"), (setuid, "x")])
    before = sorted(path.name for path in tmp_path.iterdir())
    site = sites.take(lock("odd"), NEW, index.job())
    assert sorted({*before, "state"}) == sorted(path.name for path in tmp_path.iterdir())
    assert not list(tmp_path.rglob("escaped"))
    assert not [path for path in site.rglob("*") if path.is_symlink() or path.stat().st_mode & 0o7022]


def test_a_wheel_that_is_broken_is_refused_by_name(index, lock, sites):
    wheel = index.add("broken")
    content = bytearray(wheel.read_bytes())
    content[45] ^= 0xFF
    wheel.write_bytes(content)
    index.offer(wheel)
    with pytest.raises(InvalidBundle, match=r"the dependencies cannot be packed: .*broken"):
        sites.take(lock("broken"), NEW, index.job())
    assert left(sites) == []


def test_a_script_that_climbs_out_is_refused(index, lock, sites):
    index.add(
        "odd",
        files={"odd.py": "", "odd-1.0.dist-info/entry_points.txt": "[console_scripts]\n../../x = odd:y\n"},
    )
    with pytest.raises(
        InvalidBundle, match="cannot be packed: The wheel is invalid: Script path must resolve"
    ):
        sites.take(lock("odd"), NEW, index.job())
    assert left(sites) == []


@pytest.mark.parametrize(
    ("bound", "value", "sentence"),
    [
        ("MAX_FILES", 2, "unpack to more than 2 files"),
        ("MAX_BYTES", 2**20, "unpack to more than 1 MiB"),
    ],
)
def test_what_a_site_may_hold_is_bounded(index, lock, sites, monkeypatch, bound, value, sentence):
    index.add("large", files={"large.py": "x" * (2**20 + 1), "more.py": "", "most.py": ""})
    monkeypatch.setattr(unpack, bound, value)
    with pytest.raises(InvalidBundle, match=sentence):
        sites.take(lock("large"), NEW, index.job())
    assert left(sites) == []


def test_no_single_file_grows_without_end(index, lock, sites, monkeypatch):
    index.add("bomb", files={"bomb.txt": "0" * 2**22})
    made = lock("bomb")
    shutil.rmtree(index.root / "cache")
    monkeypatch.setattr(uv, "MAX_FILE", 2**20)
    with pytest.raises(InvalidBundle, match="holds a file larger than 1 MiB"):
        sites.take(made, NEW, index.job())
    assert left(sites) == []


def test_a_disk_that_is_almost_full_is_not_filled(index, lock, sites, monkeypatch):
    index.add("tool")
    made = lock("tool")
    monkeypatch.setattr(uv, "ROOM_BYTES", 2**60)
    with pytest.raises(StorageFull, match="MiB are left"):
        sites.take(made, NEW, index.job())
    assert left(sites) == []


def test_a_full_disk_is_said_and_leaves_nothing(index, lock, sites, monkeypatch):
    index.add("tool")
    made = lock("tool")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.Sites, "_share", full)
    with pytest.raises(StorageFull, match="no room in the state directory"):
        sites.take(made, NEW, index.job())
    assert left(sites) == []


def test_work_nobody_waits_for_is_stopped_and_leaves_nothing(index, lock, sites):
    index.add("tool")
    made = lock("tool")
    job = index.job()
    job.cancel()
    with pytest.raises(Cancelled):
        sites.take(made, NEW, job)
    assert left(sites) == []
    assert sites.take(made, NEW, index.job()).is_dir()


def test_one_makes_what_several_want_at_once(index, lock, sites, monkeypatch):
    index.add("tool")
    made, made_by, gate = lock("tool"), [], threading.Barrier(3)
    usual = module.unpack
    monkeypatch.setattr(module, "unpack", lambda *a: (made_by.append(threading.get_ident()), usual(*a)))

    def take(number):
        gate.wait()
        # Like another process: nothing is shared but the directory.
        return Sites(sites.directory).take(made, NEW, index.job())

    with ThreadPoolExecutor(3) as threads:
        found = set(threads.map(take, range(3)))
    assert (len(found), len(made_by)) == (1, 1)


def test_a_site_damaged_by_a_power_cut_is_made_again(index, lock, sites):
    index.add("tool")
    made = lock("tool")
    site = sites.take(made, NEW, index.job())
    os.truncate(site / "tool.py", 0)  # and so the shared file
    again = Sites(sites.directory).take(made, NEW, index.job())
    assert again == site
    assert (again / "tool.py").read_text() == "VERSION = '1.0'\n"


def age(path):
    long_ago = time.time() - 2 * COLLECT_AFTER
    os.utime(path, (long_ago, long_ago))


def test_only_what_nobody_uses_is_collected_and_not_at_once(index, lock, sites):
    for name in ("common", "first", "second"):
        index.add(name)
    first, second = (sites.take(lock("common", name), NEW, index.job()) for name in ("first", "second"))
    (sites.directory / ".staging-crashed").mkdir()
    assert sites.collect(frozenset({first.name})) == []
    for path in (first, second, sites.directory / ".staging-crashed", *sites.directory.glob("locks/*")):
        age(path)
    assert sorted(sites.collect(frozenset({first.name}))) == sorted([second.name, ".staging-crashed"])
    assert first.is_dir()
    assert len(list(sites.directory.glob("locks/*"))) == 1
    assert all(path.stat().st_nlink > 1 for path in sites.directory.glob("files/*"))
    assert sites.take(lock("common", "second"), NEW, index.job()) == second


def test_there_is_nothing_to_collect_where_nothing_was_packed(sites):
    assert sites.collect(frozenset()) == []
    assert not sites.directory.exists()
