"""Code in ConfigMaps: what goes in comes out, and what others made up is refused."""

import json

import pytest

from xcore.bundle import Snapshots
from xcore.errors import InvalidBundle
from xcore.runtimes.kubernetes.code import BUNDLE, MAX_CODE, code_files, code_map, code_name
from xcore.runtimes.kubernetes.objects import meta_of


def snapshot(tmp_path, files):
    folder = tmp_path / "folder"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        (folder / path).chmod(0o755 if path.endswith(".sh") else 0o644)
    return Snapshots(tmp_path / "snapshots").take(folder)


def made(tmp_path, files, *, bundle=True):
    digest, code = snapshot(tmp_path, files)
    return digest, *code_map(code, "hello", meta_of("hello", "plugins", "uid"), bundle=bundle)


def test_a_config_map_holds_every_file_and_what_it_is_called(tmp_path):
    files = {"main.py": b"x = 1", "deep/er/run.sh": b"\x00\xff", "ü.txt": b""}
    digest, item, places = made(tmp_path, files)
    assert {file.path: file.content for file in code_files(item)} == files
    assert [file.path for file in code_files(item) if file.executable] == ["deep/er/run.sh"]
    assert sorted(places.values()) == sorted(files)
    assert (item["metadata"]["name"], item["immutable"]) == (code_name("hello", digest), True)
    assert item["metadata"]["labels"][BUNDLE] == digest[:12]


def test_only_bundles_are_marked_as_kept(tmp_path):
    _, item, _ = made(tmp_path, {"main.py": b""}, bundle=False)
    assert BUNDLE not in item["metadata"]["labels"]


def test_code_that_does_not_fit_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(InvalidBundle, match="xcore pack --image"):
        made(tmp_path, {"main.py": b"x" * MAX_CODE})


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", ".", "a\x00", 3, None])
def test_a_path_that_leads_out_is_refused(tmp_path, path):
    """Whoever may write ConfigMaps may not write files of the controller."""
    _, item, _ = made(tmp_path, {"main.py": b""})
    item["data"]["index.json"] = json.dumps([[path, False]])
    with pytest.raises(InvalidBundle, match="is not one that xcore made"):
        code_files(item)


@pytest.mark.parametrize(
    "data", [{}, {"index.json": "{"}, {"index.json": "3"}, {"index.json": '[["a", 1, 2]]'}]
)
def test_another_config_map_of_that_name_is_refused(tmp_path, data):
    _, item, _ = made(tmp_path, {"main.py": b""})
    with pytest.raises(InvalidBundle, match="is not one that xcore made"):
        code_files({**item, "data": data})
    with pytest.raises(InvalidBundle, match="is not one that xcore made"):
        code_files({"metadata": item["metadata"]})
