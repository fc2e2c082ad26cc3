"""Old folders as they lie on disk, read by the door every folder comes through."""

import json

import pytest

from integrations.legacy.folders import LegacyFolders
from integrations.legacy.old import MAX_SOURCE
from tests.support import write_plugin
from xcore.bundle import Snapshots
from xcore.loader import Loader

BY_HANDLE = "class Plugin:\n    async def handle(self, action, payload):\n        return {}\n"
BY_ROUTES = """
from fastapi import APIRouter
PLUGIN_INFO: dict = {"name": "guests", "version": "1.0.0", "author": "A", "Api_prefix": "/app/guests"}
router = APIRouter(prefix=PLUGIN_INFO["Api_prefix"])
class Plugin:
    def run(self): return {}
"""
OLD = "name: notes_manager\nversion: 1.0\nexecution_mode: sandboxed\n"


@pytest.fixture
def plugins(tmp_path):
    (tmp_path / "plugins").mkdir()
    return tmp_path / "plugins"


@pytest.fixture
def scan(tmp_path, plugins):
    loader = Loader(plugins, Snapshots(tmp_path / "snapshots"), older=LegacyFolders())
    return lambda: {declared.folder: declared for declared in loader.scan()}


def files(folder, contents):
    for path, text in contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def test_both_kinds_are_read_beside_todays(plugins, scan):
    """Each as a Plugin with its code in a snapshot; a folder that is none of them is nobody's."""
    write_plugin(plugins / "hello")
    files(plugins / "notes", {"plugin.yaml": OLD, "src/main.py": BY_HANDLE, "src/words.py": ""})
    files(
        plugins / "json", {"plugin.json": json.dumps({"name": "j", "version": "2"}), "src/main.py": BY_HANDLE}
    )
    files(
        plugins / "guests_plugin", {"run.py": BY_ROUTES, "__init__.py": "from .run import Plugin, router\n"}
    )
    files(plugins / "other", {"run.py": "print('a program of no plugin')", "notes.txt": ""})
    found = scan()
    assert {folder: declared.manifest.metadata.name for folder, declared in found.items()} == {
        "hello": "hello",
        "notes": "notes-manager",
        "json": "j",
        "guests_plugin": "guests",
    }
    assert found["notes"].manifest.spec.version == "1.0"
    assert (found["notes"].code / "src" / "words.py").is_file()
    assert found["guests_plugin"].manifest.spec.entrypoint == "run:Plugin"
    assert found["guests_plugin"].manifest.spec.dependencies == ("fastapi",)
    assert found["hello"].manifest.spec.legacy is None


def test_an_unchanged_old_folder_is_the_same_to_the_loader(plugins, scan):
    """And a change of any file that decides is seen, whichever it is."""
    files(plugins / "notes", {"plugin.yaml": OLD, "src/main.py": BY_HANDLE})
    first = scan()["notes"]
    assert scan()["notes"] is first
    files(plugins / "notes", {"requirements.txt": "httpx\n"})
    assert scan()["notes"].manifest.spec.dependencies == ("httpx",)
    files(plugins / "notes", {"plugin.yaml": OLD.replace("1.0", "2.0")})
    assert scan()["notes"].manifest.spec.version == "2.0"


def test_todays_manifest_wins_over_whatever_lies_beside_it(plugins, scan):
    """A folder that was migrated keeps its old files."""
    write_plugin(plugins / "hello", files={"plugin.json": '{"name": "old", "version": "1"}'})
    assert scan()["hello"].manifest.metadata.name == "hello"


@pytest.mark.parametrize(
    "text",
    [
        "name: hello\nversion: 1.0.0\nentrypoint: main:Hello\n",
        "metadata: {name: hello}\nspec: {entrypoint: 'main:Hello'}\n",
        "kind: Plugin\nname: hello\n",
        "- name: hello\n",
        "name: [hello\n",
        "",
    ],
)
def test_a_mistake_in_a_manifest_of_today_is_told_as_one(plugins, scan, text):
    """By what is missing in it, not by what the old system wanted."""
    files(plugins / "hello", {"plugin.yaml": text, "main.py": ""})
    assert "plugin.yaml" in str(scan()["hello"].error)
    assert "old system" not in str(scan()["hello"].error)


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"plugin.json": "[]"}, "must be a mapping"),
        ({"plugin.json": "{"}, "is not JSON"),
        ({"plugin.yaml": OLD}, "there is no src/main.py"),
        ({"plugin.yaml": OLD + "entry_point: ../x.py\n"}, "relative, without .."),
        ({"plugin.yaml": OLD + "env: {A: '${HOME}'}\n", "src/main.py": ""}, "env.A"),
        ({"run.py": "PLUGIN_INFO = dict(name='x')"}, "no code is run"),
        ({"run.py": "PLUGIN_INFO = {"}, "not valid Python"),
        ({"run.py": "PLUGIN_INFO = {1: 2}"}, "dictionary of plain values"),
        ({"run.py": "PLUGIN_INFO = {'name': " + "[" * 2000 + "]" * 2000 + "}"}, "run.py"),
    ],
)
def test_what_is_wrong_with_an_old_folder_is_told_and_nothing_is_run(plugins, scan, contents, words):
    """As the folder's error, for its status."""
    files(plugins / "old", contents)
    declared = scan()["old"]
    assert declared.manifest is None
    assert words in str(declared.error)


def test_a_program_beside_an_old_plugin_does_not_matter(plugins, scan):
    """A `run.py` that is no plugin's, and not even of this Python."""
    files(plugins / "notes", {"plugin.yaml": OLD, "src/main.py": BY_HANDLE, "run.py": "print 'by hand'\n"})
    assert scan()["notes"].manifest.spec.entrypoint == "src.main:Plugin"


def test_links_in_an_old_folder_are_refused(plugins, scan, tmp_path):
    """A manifest that is one, and any other file."""
    (tmp_path / "secret.json").write_text('{"name": "x", "version": "1"}')
    (plugins / "one").mkdir()
    (plugins / "one" / "plugin.json").symlink_to(tmp_path / "secret.json")
    files(plugins / "two", {"plugin.yaml": OLD, "src/main.py": BY_HANDLE})
    (plugins / "two" / "src" / "more.py").symlink_to(tmp_path / "secret.json")
    found = scan()
    assert found["one"].error is not None
    assert found["one"].manifest is None
    assert "is a link" in str(found["two"].error)


def test_a_huge_source_file_is_not_read_whole(plugins, scan):
    """What stands behind the first MiB of it decides nothing."""
    late = "#" * (MAX_SOURCE + 1) + "\nPLUGIN_INFO = {}\n"
    files(plugins / "late", {"run.py": late})
    assert scan() == {}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "source",
    [
        "\n" * MAX_SOURCE,
        " " * MAX_SOURCE,
        "import " * (MAX_SOURCE // 7),
        "PLUGIN_INFO = " + "-" * 900_000 + "1",
    ],
    ids=["breaks", "blanks", "imports", "signs"],
)
def test_source_that_is_made_to_be_slow_is_read_as_quickly(plugins, scan, source):
    """Whatever a stranger writes into his files, reading takes time in proportion to their size."""
    files(
        plugins / "slow",
        {"plugin.yaml": OLD, "src/main.py": BY_HANDLE, "src/slow.py": source, "run.py": source},
    )
    scan()
