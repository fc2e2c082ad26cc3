"""The command line against a small real server that gives canned answers."""

import json
import threading

import pytest
from typer.testing import CliRunner

from controller.cli import app
from controller.cli.exits import Exit, code_for
from tests.controller.canned import LOOPING, READY, Server, plugin, problem

KEY = "k" * 32


@pytest.fixture
def server(monkeypatch):
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("XCORE_URL", running.url)
        monkeypatch.setenv("XCORE_KEY", KEY)
        yield running
        running.shutdown()
        thread.join()


def xcore(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def test_get_lists_plugins(server):
    """`get` shows a line for each plugin, and shows the key."""
    server.answer("GET", "/api/v1/plugins", {"items": [plugin(), plugin("other", LOOPING)]})
    result = xcore("get")
    assert result.exit_code == Exit.DONE
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows == [
        ["NAME", "READY", "REASON", "REPLICAS", "RESTARTS", "VERSION"],
        ["hello", "True", "Ready", "1/1", "3", "1.0.0"],
        ["other", "False", "CrashLooping", "1/1", "3", "1.0.0"],
    ]
    assert server.requests[0][4]["Authorization"] == f"Bearer {KEY}"


def test_get_reads_every_page(server):
    """`get` goes on until the controller has no more."""
    pages = [
        {"items": [plugin("a")], "metadata": {"continue": "a"}},
        {"items": [plugin("b")], "metadata": {"continue": ""}},
    ]
    server.answer("GET", "/api/v1/plugins", pages)
    assert [item["metadata"]["name"] for item in json.loads(xcore("get", "-o", "json").stdout)["items"]] == [
        "a",
        "b",
    ]
    assert [request[2] for request in server.requests] == [{}, {"continue": "a"}]


def test_get_one_shows_why(server):
    """`get NAME` shows each condition with its message, and no control character of it."""
    server.answer("GET", "/api/v1/plugins/hello", plugin(condition=LOOPING))
    result = xcore("get", "hello")
    assert "the last instance ended\\x1b[2J" in result.stdout
    assert "\x1b" not in result.stdout


def test_get_wide(server):
    """`-o wide` adds where it answers and what it runs."""
    server.answer("GET", "/api/v1/plugins", {"items": [plugin()]})
    assert "xcore/sandbox:1" in xcore("get", "-o", "wide").stdout


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_get_for_programs(form, server):
    """`-o json` and `-o yaml` print the resource itself."""
    server.answer("GET", "/api/v1/plugins/hello", plugin())
    printed = xcore("get", "hello", "-o", form).stdout
    assert printed.startswith("{" if form == "json" else "kind: Plugin")
    assert "currentRevision" in printed


def test_nothing_to_get(server):
    """Without plugins stdout stays empty, and stderr says so."""
    server.answer("GET", "/api/v1/plugins", {"items": []})
    result = xcore("get")
    assert (result.stdout, result.stderr) == ("", "There are no plugins.\n")


def test_problem_is_told(server):
    """A problem is its reason, detail, wrong fields and request id on stderr, and nothing on stdout."""
    errors = [{"field": "name", "message": "must be a string"}]
    refused = problem(422, "InvalidArguments", "the arguments are not valid", errors=errors)
    server.answer("POST", "/app/hello/greet", refused)
    result = xcore("call", "hello", "greet", '{"name": 1}')
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "InvalidArguments: the arguments are not valid",
        "  name: must be a string",
        "  requestId: id-1",
    ]
    assert result.exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (404, "PluginNotFound", Exit.NOT_FOUND),
        (401, "Unauthenticated", Exit.REFUSED),
        (403, "Forbidden", Exit.REFUSED),
        (409, "Conflict", Exit.REFUSED),
        (422, "NotSupported", Exit.REFUSED),
        (429, "RateLimited", Exit.REFUSED),
        (400, "MalformedRequest", Exit.USAGE),
        (500, "Internal", Exit.FAILED),
        (503, "PluginNotReady", Exit.FAILED),
        (503, "Draining", Exit.UNREACHABLE),
        (504, "WaitTimeout", Exit.FAILED),
    ],
)
def test_exit_codes(status, reason, code, server):
    """The exit code tells a script what kind of problem it was."""
    server.answer("POST", "/api/v1/plugins/hello/restart", problem(status, reason, "no"))
    assert xcore("restart", "hello").exit_code == code == code_for(status, reason)


def test_unreachable(monkeypatch):
    """Where nobody listens the code is 5 and the address is named."""
    monkeypatch.setenv("XCORE_URL", "http://127.0.0.1:1")
    result = xcore("get")
    assert result.exit_code == Exit.UNREACHABLE
    assert result.stderr == "Unreachable: the controller at http://127.0.0.1:1 cannot be reached\n"


@pytest.mark.parametrize("answer", [(502, "text/html", "<html>"), (200, "text/html", "<html>")])
def test_somebody_else_answers(answer, server):
    """What is not a controller counts as unreachable, never as an answer."""
    server.answer("GET", "/api/v1/plugins", answer)
    assert xcore("get").exit_code == Exit.UNREACHABLE


def test_missing_key_is_hinted_at(server, monkeypatch):
    """Who shows no key is told where to put it."""
    monkeypatch.delenv("XCORE_KEY")
    server.answer("GET", "/api/v1/plugins", problem(401, "Unauthenticated", "a key is needed"))
    assert "a key is needed; put the key into XCORE_KEY" in xcore("get").stderr


def test_address_that_is_none(monkeypatch):
    """An XCORE_URL that is none is bad usage."""
    monkeypatch.setenv("XCORE_URL", "nowhere")
    result = xcore("get")
    assert result.exit_code == Exit.USAGE
    assert "XCORE_URL: must be a URL" in result.stderr


def test_call_prints_the_answer(server):
    """`call` sends its argument as JSON and prints the body."""
    server.answer("POST", "/app/hello/greet", "Hello Ada")
    result = xcore("call", "hello", "greet", '{"name": "Ada"}')
    assert (result.exit_code, result.stdout) == (Exit.DONE, '"Hello Ada"\n')
    assert server.requests[0][3] == b'{"name": "Ada"}'


def test_call_without_arguments(server):
    """Without arguments an empty object is sent."""
    server.answer("POST", "/app/hello/greet", "Hello world")
    xcore("call", "hello", "greet")
    assert server.requests[0][3] == b"{}"


def test_call_with_a_file(server, tmp_path):
    """`--data @FILE` sends a file byte for byte, as whatever it is said to be, and the answer's bytes come out."""
    image = tmp_path / "image"
    image.write_bytes(b"\x89PNG\xff")
    server.answer("POST", "/app/hello/shrink", (200, "image/png", b"\xff\x00"))
    result = xcore("call", "hello", "shrink", "--data", f"@{image}", "--content-type", "image/png")
    assert result.stdout_bytes == b"\xff\x00"
    assert server.requests[0][3] == b"\x89PNG\xff"


def test_call_with_standard_input(server):
    """`--data -` sends what comes in."""
    server.answer("POST", "/app/hello/greet", "Hello Ada")
    xcore("call", "hello", "greet", "--data", "-", stdin='{"name": "Ada"}')
    assert server.requests[0][3] == b'{"name": "Ada"}'


@pytest.mark.parametrize(
    "arguments",
    [["{name: 1}"], ["{}", "--data", "-"], ["--data", "text"], ["--data", "@/nowhere/at/all"]],
)
def test_call_that_cannot_be_meant(arguments, server):
    """What is no JSON, or no body, is refused before anybody is asked."""
    result = xcore("call", "hello", "greet", *arguments, stdin="{}")
    assert result.exit_code == Exit.USAGE
    assert server.requests == []


def test_call_with_an_answer_of_the_plugin(server):
    """What a plugin itself answers with an error status is printed, and counts as failed."""
    server.answer("POST", "/app/hello/greet", (418, "text/plain", "short and stout"))
    result = xcore("call", "hello", "greet")
    assert (result.exit_code, result.stdout) == (Exit.FAILED, "short and stout")
    assert "the plugin answered 418" in result.stderr


def test_names_are_never_paths(server):
    """A name with slashes asks for that name, not for another path."""
    xcore("get", "../keys")
    assert server.requests[0][1] == "/api/v1/plugins/..%2Fkeys"


def test_logs(server):
    """`logs` passes on the text as it comes."""
    server.answer("GET", "/api/v1/plugins/hello/logs", (200, "text/plain", "t1 one\nt2 two\n"))
    result = xcore("logs", "hello", "--lines", "2", "-f")
    assert result.stdout == "t1 one\nt2 two\n"
    assert server.requests[0][2] == {"lines": "2", "follow": "true"}


def test_logs_for_programs(server):
    """`logs -o json` asks for JSON lines."""
    server.answer("GET", "/api/v1/plugins/hello/logs", (200, "application/x-ndjson", '{"text": "one"}\n'))
    assert xcore("logs", "hello", "-o", "json").stdout == '{"text": "one"}\n'
    assert server.requests[0][4]["Accept"] == "application/json"


EVENT = {"id": 1, "kind": "PluginDeclared", "plugin": "hello", "at": "2026-01-01T00:00:00Z", "generation": 2}
CHANGE = {
    "id": 2,
    "kind": "StatusChanged",
    "plugin": "hello",
    "at": "2026-01-01T00:00:01Z",
    "conditions": [LOOPING],
    "restarts": {"count": 3, "lastReason": "Error", "lastExitCode": 1},
}


def test_events(server):
    """`events` shows what happened, the latest last, with the conditions that changed."""
    server.answer("GET", "/api/v1/plugins/hello/events", {"items": [CHANGE, EVENT]})
    lines = xcore("events", "hello", "--lines", "2", "--kind", "StatusChanged").stdout.splitlines()
    assert lines[1].split() == ["2026-01-01T00:00:00Z", "hello", "PluginDeclared", "generation=2"]
    assert "Ready=False (CrashLooping) restarts=3 (Error)" in lines[2]
    assert server.requests[0][2] == {"limit": "2", "kind": "StatusChanged"}


@pytest.mark.parametrize("past", [[EVENT], []])
def test_events_as_they_happen(past, server):
    """`events -f` shows the past, asks for what comes after it, and says when the controller hangs up."""
    stream = f": following\n\nid: 2\nevent: StatusChanged\ndata: {json.dumps(CHANGE)}\n\n"
    server.answer("STREAM", "/api/v1/events", (200, "text/event-stream", stream))
    server.answer("GET", "/api/v1/events", {"items": past})
    result = xcore("events", "-f", "-o", "json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [*past, CHANGE]
    assert server.requests[1][4]["Last-Event-ID"] == ("1" if past else "0")
    assert result.exit_code == Exit.UNREACHABLE


@pytest.mark.parametrize("verb", ["restart", "resume"])
def test_commands_wait(verb, server):
    """`restart` and `resume` wait until the plugin is Ready, unless told not to."""
    server.answer("POST", f"/api/v1/plugins/hello/{verb}", plugin())
    assert xcore(verb, "hello", "--timeout", "5").stdout == "hello: Ready\n"
    assert server.requests[0][2] == {"wait": "Ready", "timeoutSeconds": "5.0"}
    assert xcore(verb, "hello", "--no-wait").stdout == f"hello: {verb} is under way\n"
    assert server.requests[1][2] == {}


def test_suspend(server):
    """`suspend` asks once and prints the resource for programs."""
    server.answer("POST", "/api/v1/plugins/hello/suspend", (202, "application/json", json.dumps(plugin())))
    assert json.loads(xcore("suspend", "hello", "-o", "json").stdout)["kind"] == "Plugin"


def test_wait_until_it_is_so(server, monkeypatch):
    """`wait` looks again until the condition is true."""
    monkeypatch.setattr("controller.cli.plugins.POLL_SECONDS", 0.01)
    statuses = [{"conditions": [LOOPING]}, {"conditions": [LOOPING]}, {"conditions": [READY]}]
    server.answer("GET", "/api/v1/plugins/hello/status", statuses)
    assert xcore("wait", "hello", "--for=Ready").stdout == "hello: Ready\n"
    assert len(server.requests) == 3


def test_wait_in_vain(server):
    """`wait` gives up with the reason why it is not so."""
    server.answer("GET", "/api/v1/plugins/hello/status", {"conditions": [LOOPING]})
    result = xcore("wait", "hello", "--for", "condition=Ready", "--timeout", "0.1")
    assert result.exit_code == Exit.FAILED
    assert result.stderr.startswith("WaitTimeout: hello is not condition=Ready after 0.1 s; CrashLooping: ")


def test_wait_for_the_opposite(server):
    """`--for=Ready=False` waits until it is not."""
    server.answer("GET", "/api/v1/plugins/hello/status", {"conditions": [LOOPING]})
    assert xcore("wait", "hello", "--for=Ready=false").exit_code == Exit.DONE


def test_wait_for_what_nobody_knows(server):
    """A condition that does not exist is bad usage, with the nearest that does."""
    result = xcore("wait", "hello", "--for=Redy")
    assert result.exit_code == Exit.USAGE
    assert "did you mean Ready?" in result.stderr
