"""`xcore check` starts what it checks, in a sandbox, and says what its author would want to know."""

import json

import pytest
from typer.testing import CliRunner

from controller.cli import app
from controller.cli.exits import Exit
from controller.cli.signatures import signature, warnings_of
from tests.support import HELLO, write_plugin


@pytest.fixture
def folder(open_dir, monkeypatch):
    """Where the plugin lies; what the command needed is gone again at the end."""
    (open_dir / "tmp").mkdir()
    (open_dir / "tmp").chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(open_dir / "tmp"))
    yield open_dir / "hello"
    assert list((open_dir / "tmp").iterdir()) == []


def check(folder, *options):
    return CliRunner().invoke(app, ["check", str(folder), "--runtime", "process", *options])


def test_a_good_plugin_is_started_and_its_actions_are_listed(folder):
    """Each with its signature, methods and the first line of its docstring."""
    done = check(write_plugin(folder))
    assert done.exit_code == Exit.DONE
    assert done.stdout.splitlines()[:2] == [f"{folder}/plugin.yaml: ok", "hello starts in a child process"]
    row = " ".join(done.stdout.splitlines()[3].split())
    assert row == 'greet(name: string = "world") → string POST Greet someone.'


def test_programs_get_schemas_and_warnings(folder):
    """What is odd is told and changes no exit code."""
    code = f"{HELLO}\n    @action\n    def odd(self, anything):\n        return anything\n"
    spec = {"actions": [{"name": "gone", "timeouts": {"idleSeconds": 5}}], "isolation": "Trusted"}
    done = check(write_plugin(folder, code, **spec), "-o", "json")
    assert done.exit_code == Exit.DONE
    (plugin,) = json.loads(done.stdout)["plugins"]
    assert [action["name"] for action in plugin["actions"]] == ["greet", "odd"]
    assert plugin["actions"][0]["arguments"]["properties"]["name"]["type"] == "string"
    assert plugin["runtime"] == "process"
    told = "\n".join(plugin["warnings"])
    for warning in (
        "spec.isolation is Trusted",
        "spec.actions names gone, which is no action of the code",
        "action odd has no docstring",
        "action odd: parameter anything has no type",
    ):
        assert warning in told


def test_an_application_is_started_too(folder):
    """It has routes of its own instead of actions."""
    code = """
    async def hello(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hi"})
    """
    done = check(write_plugin(folder, code, entrypoint="main:hello"))
    assert (done.exit_code, done.stdout.splitlines()[1:]) == (
        Exit.DONE,
        ["hello starts in a child process; it is an application with routes of its own"],
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import nothing_like_it\n", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        (f"{HELLO}\n    async def startup(self):\n        raise OSError('no disk')\n", "OSError: no disk"),
    ],
)
def test_a_plugin_that_does_not_start_shows_its_authors_frames(code, says, folder):
    """The sentence of its status first, then the traceback from his own first frame on."""
    done = check(write_plugin(folder, code))
    assert done.exit_code == Exit.FAILED
    first, head, frame, *_, last = done.stdout.splitlines()
    assert first.startswith(f"{folder}/plugin.yaml: does not start: StartupFailed: ")
    assert head == "Traceback (most recent call last):"
    assert frame.startswith(f'  File "{folder}/main.py", line ')
    assert last == says


def test_an_engine_that_is_not_there_is_unreachable(folder, monkeypatch):
    """Docker named outright is Docker or nothing."""
    monkeypatch.setenv("XCORE_DOCKER_HOST", "unix:///nonexistent.sock")
    done = check(write_plugin(folder), "--runtime", "docker")
    assert done.exit_code == Exit.UNREACHABLE
    assert done.stderr.startswith("NotStarted: the Docker engine at unix:///nonexistent.sock does not answer")


def test_what_is_wrong_on_paper_is_not_started(folder):
    """A manifest that is refused is told without a sandbox."""
    done = check(write_plugin(folder, replica=2))
    assert done.exit_code == Exit.FAILED
    assert "spec.replica: is not a field here" in done.stdout
    assert "does not start" not in done.stdout


def test_signatures_read_like_python():
    """Types as JSON Schema calls them, defaults as JSON."""
    action = {
        "name": "a",
        "description": "It.",
        "arguments": {
            "properties": {
                "one": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                "many": {"type": "array", "items": {"$ref": "#/$defs/Word"}},
                "which": {"enum": ["x", "y"]},
            },
            "required": ["many", "which"],
        },
        "rawBody": True,
        "stream": True,
        "result": {"type": "integer"},
    }
    assert signature(action) == (
        'a(one: string | null = null, many: array of Word, which: "x" | "y", body: bytes) → stream of integer'
    )
    assert list(warnings_of(action)) == []
