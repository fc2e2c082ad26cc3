"""The runner as a real child process: how it starts, serves, and ends."""

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox_image.child import HELLO, ROOT, SECONDS, Connection

PLUGIN = "class P(Plugin):\n    pass\n"

NEITHER = (
    "neither a class derived from xcore.plugin.Plugin nor an ASGI application"
    " (a callable of scope, receive and send, such as app = FastAPI())"
)


def test_it_serves_the_example_until_sigterm(start):
    """Typed actions over the socket, GET and POST; SIGTERM ends it with 0, and the log has no noise in it."""
    runner = start(HELLO, entrypoint="main:Hello").ready()

    assert runner.post("greet", b'{"name": "Ada"}') == (200, b'"Hello Ada"')
    assert runner.ask("GET", "/app/p/add?a=1&b=2") == (200, b"3")
    assert runner.ask("HEAD", "/app/p/add?a=1") == (200, b"")
    assert runner.ask("GET", "/ready") == (200, b"ok\n")
    assert runner.ask("GET", "/live") == (200, b"ok\n")
    assert json.loads(runner.ask("GET", "/describe")[1])["version"] == "1"
    assert runner.stop() == 0
    assert runner.lines == []


def test_the_group_may_connect_and_nobody_else(start):
    """The socket is 0660, whatever the umask; a stale one in its place is replaced, files made later are as ever."""
    made = PLUGIN + "    @action\n    def touch(self, path: str) -> None:\n        open(path, 'w').close()\n"
    runner = start(made, umask=0o077)
    runner.ready()
    assert stat.S_IMODE(runner.socket.stat().st_mode) == 0o660
    other = runner.socket.with_name("made")
    assert runner.post("touch", json.dumps({"path": str(other)}).encode()) == (200, b"null")
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    runner.process.kill()
    runner.wait()

    assert runner.socket.exists()
    assert start(PLUGIN).ready().stop() == 0


def test_it_listens_on_a_port_where_told(start):
    """For networks of containers: PORT instead of PLUGIN_SOCKET."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    runner = start(HELLO, entrypoint="main:Hello", port=port)
    status = 0
    while status != 200:
        assert runner.process.poll() is None, runner.lines
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        with contextlib.suppress(ConnectionRefusedError):
            connection.request("GET", "/startup")
            status = connection.getresponse().status
        connection.close()
    assert runner.stop() == 0


@pytest.mark.parametrize(
    ("source", "options", "last"),
    [
        ("raise ValueError('no luck')", {}, "ValueError: no luck"),
        ("raise ValueError('first\\nsecond')", {}, "ValueError: first"),
        ("import nowhere", {}, "ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit(0)", {}, "SystemExit: 0"),
        ("raise KeyboardInterrupt", {}, "KeyboardInterrupt"),
        ("def broken(:", {}, "SyntaxError: invalid syntax (main.py, line 2)"),
        ("P = 3", {}, f"TypeError: main:P is an object of int: {NEITHER}"),
        ("", {}, f"TypeError: main:P is not there: {NEITHER}"),
        ("", {"entrypoint": "other:P"}, "ModuleNotFoundError: No module named 'other'"),
        (
            "",
            {"entrypoint": "json:P"},
            "ImportError: 'json' is the name of a module that Python or the runner uses: rename the file",
        ),
        (
            "",
            {"entrypoint": "uvicorn:P"},
            "ImportError: 'uvicorn' is the name of a module that Python or the runner uses: rename the file",
        ),
        (
            "class P(Plugin):\n    def __init__(self):\n        raise LookupError('in init')",
            {},
            "LookupError: in init",
        ),
        (
            "class P(Plugin):\n    @action\n    async def a(self, *args): ...",
            {},
            "TypeError: action a: parameter args must be a named parameter",
        ),
        (
            "class P(Plugin):\n    async def startup(self):\n        raise SystemExit(5)",
            {},
            "SystemExit: 5",
        ),
        (
            "class P(Plugin):\n    def startup(self):\n        raise RuntimeError('late')",
            {},
            "RuntimeError: late",
        ),
        (
            "class P(Plugin):\n    async def startup(self):\n        raise ExceptionGroup('g', [OSError('inner')])",
            {},
            "OSError: inner",
        ),
    ],
)
def test_a_plugin_that_does_not_start_ends_with_70(start, source, options, last):
    """The record, its traceback, and last the exception's own line, which is what a status shows."""
    runner = start(source, **options)

    assert runner.wait() == 70
    assert json.loads(runner.lines[0])["message"] == "the plugin did not start"
    assert json.loads(runner.lines[0])["level"] == "error"
    assert any(line.startswith("Traceback") or "Exception Group Traceback" in line for line in runner.lines)
    assert runner.lines[-1] == last


def test_a_spec_that_cannot_be_read_ends_with_70(tmp_path):
    """Nothing starts without knowing what."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sandbox_image.runner"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PLUGIN_SOCKET": str(tmp_path / "s")},
        capture_output=True,
        check=False,
        timeout=SECONDS,
    )

    assert done.returncode == 70
    assert done.stderr.splitlines()[-1] == b"KeyError: 'PLUGIN_SPEC'"


def test_a_module_named_like_ours_does_not_break_the_runner(start, tmp_path):
    """What the runner uses is loaded before the plugin's folder is searched."""
    for name in ("xcore", "uvloop", "logging", "http", "email"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('never imported')")
    (tmp_path / "helper.py").write_text("VALUE = 'helped'")
    source = """
        import helper
        class P(Plugin):
            @action
            async def a(self) -> str:
                return helper.VALUE
    """
    runner = start(source).ready()

    assert runner.post("a") == (200, b'"helped"')
    assert runner.stop() == 0


@pytest.mark.parametrize(
    "waiting", ["import time; time.sleep(60)", "import threading; threading.Event().wait()"]
)
def test_sigterm_during_import_ends_it_at_once(start, waiting):
    """There is nothing to drain yet."""
    runner = start(f"print('importing')\n{waiting}")
    runner.said("importing")

    assert runner.stop() == 0


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_sigterm_during_startup_ends_it_without_shutdown(start, kind):
    """Probes are answered meanwhile, 503; `shutdown` is for what was started."""
    wait = "await asyncio.Event().wait()" if kind == "async def" else "threading.Event().wait()"
    runner = start(f"""
        import asyncio, threading
        class P(Plugin):
            {kind} startup(self):
                print("starting")
                try:
                    {wait}
                finally:
                    print("cleaned")
            async def shutdown(self):
                print("shut down")
    """)
    runner.said("starting")
    status = 0
    while status == 0:
        status, _ = runner.ask("GET", "/startup")
    assert status == 503

    assert runner.stop() == 0
    assert runner.lines == ["starting", "cleaned"] if kind == "async def" else ["starting"]


WAITING = """
    import asyncio, threading
    class P(Plugin):
        def __init__(self):
            self.go = asyncio.Event()
        @action
        async def patient(self) -> str:
            print("waiting")
            await self.go.wait()
            return "done"
        @action
        def stubborn(self) -> None:
            print("waiting")
            threading.Event().wait()
        @action
        async def deaf(self) -> None:
            print("waiting")
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    print("no")
        @action
        async def release(self) -> None:
            asyncio.get_running_loop().call_later(0.3, self.go.set)
        async def shutdown(self):
            print("shut down")
"""


def test_sigterm_drains_what_is_under_way_then_shuts_down(start):
    """The request gets its answer, nobody new gets in, `shutdown` runs after."""
    runner = start(WAITING).ready()
    connection = Connection(runner.socket)
    connection.request("POST", "/app/p/patient", b"{}")
    runner.said("waiting")
    assert runner.post("release")[0] == 200
    runner.process.send_signal(signal.SIGTERM)

    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b'"done"')
    connection.close()
    assert runner.wait() == 0
    assert runner.lines == ["waiting", "shut down"]


IMPATIENT = "from sandbox_image import runner\nrunner.DRAIN_SECONDS = 1\nrunner.leave(runner.main())\n"


@pytest.mark.parametrize("name", ["stubborn", "deaf"])
def test_a_request_that_never_ends_holds_nothing_up_for_long(start, name):
    """After the drain it is left where it is, `shutdown` runs, and the process ends with 0."""
    runner = start(WAITING, command=("-c", IMPATIENT)).ready()
    connection = Connection(runner.socket)
    connection.request("POST", f"/app/p/{name}", b"{}")
    runner.said("waiting")

    assert runner.stop() == 0
    connection.close()
    assert "shut down" in runner.lines


def test_sys_exit_in_an_action_is_one_answer(start):
    """In the loop or in a thread: 500, and the process serves on."""
    runner = start("""
        import sys
        class P(Plugin):
            @action
            async def leave(self) -> None:
                sys.exit(1)
            @action
            def leave_too(self) -> None:
                sys.exit(1)
    """).ready()

    assert [runner.post(name)[0] for name in ("leave", "leave_too", "leave")] == [500, 500, 500]
    assert runner.stop() == 0


def test_an_idle_runner_is_small(start):
    """Private memory under 30 MB: what every sandbox costs before its plugin does anything."""
    runner = start(HELLO, entrypoint="main:Hello").ready()
    rollup = Path(f"/proc/{runner.process.pid}/smaps_rollup").read_text()
    private = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")]

    assert private
    assert sum(private) < 30 * 1024


def test_uvicorns_command_line_is_loaded_only_when_asked_for():
    """No click and no multiprocessing in a sandbox; `uvicorn.run` is there all the same."""
    code = (
        "import sys, sandbox_image.runner as runner, uvicorn;"
        "assert not {'click', 'multiprocessing', 'uvicorn.main'} & set(sys.modules);"
        "assert not hasattr(uvicorn, '__wrapped__');"
        "import uvicorn.main;"
        "assert uvicorn.run is uvicorn.main.run;"
        "assert issubclass(runner._Server, uvicorn.Server)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=SECONDS)
    asked = "import sandbox_image.server, uvicorn; assert uvicorn.run.__module__ == 'uvicorn.main'"
    subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=True, timeout=SECONDS)
