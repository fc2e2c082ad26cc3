"""The author's way: `xcore new`, `xcore test`, and the fixture `plugin` of plain pytest."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controller.cli import app
from controller.cli.exits import Exit
from tests.harness import XCORE, until
from tests.support import HELLO, write_plugin

TEMPLATES = ("actions", "stream", "asgi")
CALLS = "def test_it(plugin):\n    assert plugin.call('greet') == 'Hello world'\n"


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def run(open_dir, temporary):
    """Run a command of a person: (exit code, stdout, stderr)."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("XCORE_", "PYTEST_", "COV_"))}

    def one(*command, **settings):
        environment = {**keep, "TMPDIR": str(temporary), **settings}
        words = [str(word) for word in command]
        done = subprocess.run(
            words, cwd=open_dir, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout, done.stderr

    return one


def judged(run, folder, *rest, **settings):
    """`xcore test` in child processes, pytest quiet and without the plugins of this checkout."""
    return run(
        XCORE, "test", folder, "--runtime", "process", "--", "-q", "-p", "no:asyncio", *rest, **settings
    )


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_new_writes_passes_its_own_tests(template, run, open_dir):
    """A newcomer's folder is tested in a sandbox at once, and nothing is left when its tests have ended."""
    code, out, _ = run(XCORE, "new", "demo", "--template", template)
    assert code == Exit.DONE
    lock = ["demo/plugin.lock"] if template == "asgi" else []
    assert out.split() == ["demo/main.py", "demo/plugin.yaml", "demo/test_main.py", *lock]

    code, out, err = judged(run, "demo")
    assert (code, err) == (Exit.DONE, "")
    assert "passed" in out
    assert "xcore: demo was served in a child process" in out


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_new_writes_is_typed(template, run, open_dir):
    """The template passes mypy strict with what an installed xcore tells of its types."""
    assert run(XCORE, "new", "demo", "--template", template)[0] == Exit.DONE
    # Its own bases, so that this project's settings and paths play no part.
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", open_dir / "cache")
    code, out, err = run(*mypy, open_dir / "demo/main.py", open_dir / "demo/test_main.py")
    assert (code, err) == (0, ""), out


def test_new_without_an_index_says_what_is_left_to_do(run):
    """The folder is whole but for its lock, and the command that makes it is named."""
    nowhere = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0", "UV_NO_CACHE": "1"}
    code, out, err = run(XCORE, "new", "demo", "--template", "asgi", **nowhere)
    assert code == Exit.DONE
    assert out.split() == ["demo/main.py", "demo/plugin.yaml", "demo/test_main.py"]
    assert "IndexUnavailable: " in err
    assert "; before it can run: xcore pack demo\n" in err


@pytest.mark.parametrize("name", ["De_mo", "-demo", "", "a" * 64, "a/b", "../a", "é", "a\n"])
def test_new_refuses_what_no_plugin_can_be_called(name, tmp_path):
    """The sentence says what a name may hold, and nothing is written."""
    done = invoke("new", "--dir", tmp_path, "--", name)
    assert done.exit_code == Exit.USAGE
    assert "1 to 63 lower-case letters, digits and hyphens" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_new_overwrites_nothing(there, tmp_path):
    """Whatever has the name already stays as it is."""
    place = tmp_path / "demo"
    {"file": place.touch, "folder": place.mkdir, "link": lambda: place.symlink_to("gone")}[there]()
    before = place.lstat()
    done = invoke("new", "demo", "--dir", tmp_path)
    assert (done.exit_code, done.stderr) == (
        Exit.REFUSED,
        f"AlreadyExists: {place} is there; nothing was written\n",
    )
    assert (place.lstat(), list(tmp_path.iterdir())) == (before, [place])


def test_new_where_no_folder_is(tmp_path):
    """A `--dir` that is not there is named."""
    done = invoke("new", "demo", "--dir", tmp_path / "none")
    assert (done.exit_code, done.stderr.partition(":")[0]) == (Exit.FAILED, "NotWritten")


def test_tests_need_a_plugin_and_a_test(run, open_dir):
    """Without a manifest it is not found; without a test that is what is said."""
    assert judged(run, open_dir / "none")[0] == Exit.NOT_FOUND
    code, _, err = judged(run, write_plugin(open_dir / "hello"))
    assert (code, err.partition(":")[0]) == (Exit.FAILED, "NoTests")


def test_options_pytest_does_not_know_are_bad_usage(run, open_dir):
    """What stands after `--` is pytest's, and so is its complaint."""
    folder = write_plugin(open_dir / "hello", files={"test_it.py": CALLS})
    code, _, err = judged(run, folder, "--nonsense")
    assert code == Exit.USAGE
    assert "unrecognized arguments: --nonsense" in err


def test_a_failed_call_shows_the_authors_traceback(run, open_dir):
    """An action that raises fails the test with the frames of its own file, and no other."""
    code = "from xcore.plugin import Plugin, action\nclass Hello(Plugin):\n    @action\n    def greet(self):\n        return {}['no']\n"
    folder = write_plugin(open_dir / "hello", code, files={"test_it.py": CALLS})
    result, out, _ = judged(run, folder)
    assert result == Exit.FAILED
    said = [line.removeprefix("E").strip() for line in out.splitlines() if line.startswith("E  ")]
    shown = said[said.index("Traceback (most recent call last):") :]
    assert shown[1].startswith(f'File "{folder}/main.py", line 5')
    assert shown[-1] == "KeyError: 'no'"
    assert "sandbox_image" not in out


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import nothing_like_it\n", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("def broken(:\n", "SyntaxError: invalid syntax"),
        ("x = 1\n", "TypeError: main:Hello is not there"),
    ],
)
def test_a_plugin_that_does_not_start_fails_each_of_its_tests_with_the_reason(code, says, run, open_dir):
    """Reason, the traceback from its author's first frame on, and no stack of ours."""
    tests = CALLS + CALLS.replace("test_it", "test_more")
    result, out, _ = judged(run, write_plugin(open_dir / "hello", code, files={"test_it.py": tests}))
    assert result == Exit.FAILED
    assert out.count("\nhello does not start: StartupFailed: ") == 2
    assert f"\n{says}" in out
    assert "2 errors" in out


def test_a_broken_manifest_is_named(run, open_dir):
    """The fixture says which field is wrong, as every other command does."""
    folder = write_plugin(open_dir / "hello", files={"test_it.py": CALLS}, replica=2)
    assert "spec.replica: line 1: is not a field here; did you mean replicas?" in judged(run, folder)[1]


def test_docker_where_none_answers_is_named(run, open_dir):
    """Asked for Docker, it does not take anything else; asked for nothing, it says why it took another."""
    folder = write_plugin(open_dir / "hello", files={"test_it.py": CALLS})
    settings = {"XCORE_DOCKER_HOST": "unix:///nonexistent.sock"}
    options = ("--", "-q", "-p", "no:asyncio")
    code, out, _ = run(XCORE, "test", folder, "--runtime", "docker", *options, **settings)
    assert code == Exit.FAILED
    assert "hello cannot be served: the Docker engine at unix:///nonexistent.sock does not answer" in out
    code, out, _ = run(XCORE, "test", folder, *options, **settings)
    assert code == Exit.DONE
    assert "xcore: Docker cannot be used: the Docker engine at unix:///nonexistent.sock" in out


def test_plain_pytest_has_the_fixture_too(run, open_dir):
    """No option and no import: where xcore is installed, `plugin` is there; so are raw requests and its logs."""
    text = """
    def test_it(plugin):
        answer = plugin.post("/greet", json={"name": "Ada"})
        assert (answer.status_code, answer.json(), plugin.name, plugin.runtime) == (200, "Hello Ada", "hello", "process")
        assert plugin.get("/nothing").json()["reason"] == "ActionNotFound"
        assert plugin.logs() == ["up"]
    """

    folder = write_plugin(open_dir / "hello", f"print('up'){HELLO}", files={"tests/test_it.py": text})
    pytest_alone = (sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-W", "error")
    code, out, err = run(*pytest_alone, "--xcore-runtime=process", folder)
    assert (code, err) == (0, ""), out


def test_a_test_outside_of_any_plugin_is_told_so(run, open_dir):
    """The fixture looks beside and above the test's file."""
    (open_dir / "test_it.py").write_text(CALLS)
    code, out, _ = run(sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", open_dir / "test_it.py")
    assert code == 1
    assert "there is no plugin.yaml beside or above test_it.py" in out


def test_a_test_run_that_is_killed_leaves_nothing(open_dir, temporary):
    """However pytest ends, its controller, the sandbox and their files go with it."""
    waits = "import time\ndef test_it(plugin):\n    open('pid', 'w').write(plugin.call('pid'))\n    time.sleep(60)\n"
    code = "import os\nfrom xcore.plugin import Plugin, action\nclass Hello(Plugin):\n    @action\n    async def pid(self) -> str:\n        return str(os.getpid())\n"
    folder = write_plugin(open_dir / "hello", code, files={"test_it.py": waits})
    command = [sys.executable, "-m", "pytest", "-q", "--xcore-runtime=process"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as running:
        until(
            lambda: (folder / "pid").exists() and (folder / "pid").read_text(), what="the plugin being called"
        )
        running.send_signal(signal.SIGKILL)
    until(lambda: list(temporary.iterdir()) == [], what="nothing being left")
    assert not Path("/proc", (folder / "pid").read_text()).exists()


def test_nobody_pays_for_a_fixture_he_does_not_use(run, open_dir):
    """Finding the fixture imports nothing of xcore beside its own module."""
    (open_dir / "test_it.py").write_text(
        "import sys\ndef test_it():\n    assert [m for m in sys.modules if m.startswith('xcore')] == ['xcore', 'xcore.pytest_plugin']\n"
    )
    code, out, _ = run(sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", open_dir / "test_it.py")
    assert code == 0, out
