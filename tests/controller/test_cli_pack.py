"""`xcore pack` as a person runs it: what it writes, says and ends with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import write_plugin
from tests.wheels import index
from xcore.packing.lock import read

__all__ = ["index"]
XCORE = Path(sys.executable).with_name("xcore")


@pytest.fixture
def pack(index, tmp_path, monkeypatch):
    monkeypatch.setenv("XCORE_STATE_DIR", str(tmp_path / "state"))

    def run(*arguments):
        return subprocess.run(
            [XCORE, "pack", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def plugin(tmp_path):
    return write_plugin(tmp_path / "hello", dependencies=["tool"])


def test_packing_writes_the_lock_and_says_what_it_does(pack, plugin, index, tmp_path):
    index.add("tool", "1.5", requires=["leaf"])
    index.add("leaf")
    done = pack(plugin)
    assert (done.returncode, done.stdout) == (0, "leaf==1.0\ntool==1.5\nplugin.lock: written, 2 packages\n")
    assert "pack: unpacking 2 packages for Python 3.13" in done.stderr
    assert read((plugin / "plugin.lock").read_bytes()).wanted == ("tool",)
    assert sorted(path.name for path in plugin.iterdir()) == ["main.py", "plugin.lock", "plugin.yaml"]


def test_packing_again_changes_nothing(pack, plugin, index):
    index.add("tool", "1.0")
    pack(plugin)
    before = (plugin / "plugin.lock").read_bytes()
    index.add("tool", "2.0")
    done = pack(plugin, "-o", "json")
    assert (plugin / "plugin.lock").read_bytes() == before
    told = json.loads(done.stdout)
    assert (told["changed"], told["packages"]) == (False, [{"name": "tool", "version": "1.0"}])


def test_upgrading_takes_the_newest(pack, plugin, index):
    index.add("tool", "1.0")
    pack(plugin)
    index.add("tool", "2.0")
    done = pack(plugin, "--upgrade")
    assert done.stdout.splitlines()[0] == "tool==2.0"


def test_checking_tells_whether_the_lock_fits_and_touches_nothing(pack, plugin, index):
    index.add("tool")
    index.add("other")
    missing = pack("--check", plugin)
    assert missing.returncode == 1
    assert missing.stderr == "InvalidBundle: there is no plugin.lock: run `xcore pack DIR`\n"
    pack(plugin)
    assert pack("--check", plugin).returncode == 0
    write_plugin(plugin, dependencies=["tool", "other"])
    stale = pack("--check", plugin)
    assert stale.returncode == 1
    assert "was made before other was added to spec.dependencies" in stale.stderr
    assert pack(plugin).returncode == 0
    assert pack("--check", plugin).returncode == 0


def test_a_lock_that_was_edited_is_made_anew(pack, plugin, index):
    index.add("tool")
    pack(plugin)
    lock = plugin / "plugin.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole + b"# mine\n")
    assert pack("--check", plugin).returncode == 1
    done = pack(plugin)
    assert "plugin.lock was edited: it is made anew" in done.stderr
    assert lock.read_bytes() == whole


def test_a_failure_is_a_reason_and_a_sentence_and_leaves_the_lock_alone(pack, plugin, index, tmp_path):
    index.add("tool")
    pack(plugin)
    before = (plugin / "plugin.lock").read_bytes()
    write_plugin(plugin, dependencies=["tool", "nosuch"])
    done = pack(plugin)
    assert done.returncode == 1
    assert "DependenciesUnresolved: Because nosuch was not found" in done.stderr
    assert (plugin / "plugin.lock").read_bytes() == before
    assert not list((tmp_path / "state/sites").glob(".staging-*"))


def test_no_credential_of_the_index_is_ever_repeated(pack, plugin, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://somebody:s3cret@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    done = pack(plugin)
    assert done.returncode == 5
    assert "IndexUnavailable" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert "127.0.0.1" not in done.stdout + done.stderr


def test_a_plugin_that_needs_nothing_any_more_loses_its_lock(pack, plugin, index):
    index.add("tool")
    pack(plugin)
    write_plugin(plugin)
    done = pack(plugin)
    assert (done.returncode, done.stdout) == (0, "no dependencies: no lock is needed\n")
    assert not (plugin / "plugin.lock").exists()


def test_a_folder_without_a_manifest_is_not_found(pack, tmp_path):
    done = pack(tmp_path)
    assert done.returncode == 3
    assert "there is no plugin.yaml" in done.stderr
