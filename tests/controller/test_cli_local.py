"""Commands that ask nobody, and what every command has in common."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from controller.cli import COMMANDS, app, load_command, output
from controller.cli.exits import Exit
from tests.support import write_plugin


def xcore(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_check_of_a_good_folder(tmp_path):
    """`check` says that a folder is well, also when it holds several plugins."""
    first, second = write_plugin(tmp_path / "a"), write_plugin(tmp_path / "b")
    result = xcore("check", "--static", tmp_path)
    assert (result.exit_code, result.stdout) == (
        Exit.DONE,
        f"{first}/plugin.yaml: ok\n{second}/plugin.yaml: ok\n",
    )


def manifest_of(folder, spec):
    path = folder / "plugin.yaml"
    path.write_text(f"apiVersion: xcore.dev/v1alpha1\nkind: Plugin\nmetadata: {{name: hello}}\nspec:\n{spec}")
    return path


def test_check_names_file_line_and_field(tmp_path):
    """Each problem is `file:line: field: message`, as editors jump to it."""
    path = manifest_of(tmp_path, "  entrypoint: main:Hello\n  resources:\n    memory: lots\n  replica: 2\n")
    result = xcore("check", path)
    assert result.exit_code == Exit.FAILED
    assert result.stdout.splitlines() == [
        f'{path}:7: spec.resources.memory: must be a Kubernetes quantity of whole bytes from 16Mi to 64Gi, got "lots"',
        f"{path}:8: spec.replica: is not a field here; did you mean replicas?",
    ]


def test_check_tells_what_is_not_honoured_yet(tmp_path):
    """What this version does not honour is a problem on the line that asks for it."""
    (write_plugin(tmp_path / "p") / "plugin.yaml").unlink()
    path = manifest_of(
        tmp_path / "p", "  entrypoint: main:Hello\n  traffic:\n    retry:\n      maxAttempts: 2\n"
    )
    found = json.loads(xcore("check", tmp_path / "p", "-o", "json").stdout)["problems"]
    assert [(p["file"], p["line"], p["field"]) for p in found] == [(str(path), 7, "spec.traffic.retry")]


def test_check_refuses_a_bundle_in_a_folder_as_the_controller_does(tmp_path):
    """A folder's code is its folder; a manifest of another name, for `apply -f FILE`, may name code that is there."""
    named = f"  entrypoint: main:Hello\n  source:\n    bundle: sha256:{'a' * 64}\n"
    path = manifest_of(write_plugin(tmp_path / "hello"), named)
    result = xcore("check", "--static", tmp_path / "hello")
    assert (result.exit_code, result.stdout) == (
        Exit.FAILED,
        f"{path}:7: spec.source.bundle: must be absent in a folder, which holds its code; it is for the API\n",
    )
    alone = path.rename(tmp_path / "sent.yaml")
    assert xcore("check", alone).exit_code == Exit.DONE


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"main.py": "def broken(:\n"}, "main.py:1: is not valid Python"),
        ({"main.py": None}, "plugin.yaml:1: spec.entrypoint: there is no main.py in the folder"),
        ({"link": ...}, "link: is a link, a device or a pipe"),
    ],
)
def test_check_of_the_code(files, place, tmp_path):
    """Code is read and never run: a missing module, a syntax error and a link are found."""
    folder = write_plugin(tmp_path / "p")
    for name, text in files.items():
        if text is None:
            (folder / name).unlink()
        elif text is ...:
            (folder / name).symlink_to("/etc/passwd")
        else:
            (folder / name).write_text(text)
    result = xcore("check", folder)
    assert result.exit_code == Exit.FAILED
    assert f"{folder}/{place}" in result.stdout


def test_a_static_check_runs_nothing(tmp_path):
    """With `--static`, a plugin that would do harm when imported is only read."""
    code = f"from pathlib import Path\nPath({str(tmp_path / 'harm')!r}).touch()\n"
    assert xcore("check", "--static", write_plugin(tmp_path / "p", code)).exit_code == Exit.DONE
    assert not (tmp_path / "harm").exists()


def test_check_where_nothing_is(tmp_path):
    """A folder without a manifest is not found."""
    assert xcore("check", tmp_path).exit_code == Exit.NOT_FOUND


def test_schema():
    """`schema` prints the JSON Schema of the resource."""
    assert json.loads(xcore("schema").stdout)["title"] == "Plugin"


def test_serve_with_a_wrong_setting(monkeypatch, tmp_path):
    """`serve` refuses a wrong setting as bad usage, before anything starts."""
    monkeypatch.setenv("XCORE_PORT", "abc")
    result = xcore("serve", "--config", tmp_path / "none.yaml")
    assert result.exit_code == Exit.USAGE


def test_unknown_command():
    """A command that does not exist is bad usage, with the nearest that does."""
    result = xcore("restrat")
    assert result.exit_code == Exit.USAGE
    assert "restart" in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name):
    """What the list of commands says of each is what the command itself says."""
    assert load_command(name).get_short_help_str(limit=200) == COMMANDS[name][1]


def test_help_lists_every_command():
    """`--help` names every command."""
    shown = xcore("--help").stdout
    assert [name for name in COMMANDS if f"\n  {name} " not in shown] == []


def test_light_commands_stay_light():
    """`xcore new` loads no web framework, HTTP client or Docker client."""
    code = (
        "import sys; from controller.cli import load_command; load_command('new');"
        "print([m for m in ('fastapi', 'docker', 'httpx', 'uvicorn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_json_is_harmless_on_a_terminal(capsys):
    """JSON keeps letters readable and escapes what a terminal would obey."""
    output.data({"text": "é\x9b\x1b\x7f\ud800"})
    printed = capsys.readouterr().out
    assert printed == '{\n  "text": "é\\u009b\\u001b\\u007f\\ud800"\n}\n'
    assert json.loads(printed)["text"] == "é\x9b\x1b\x7f\ud800"
