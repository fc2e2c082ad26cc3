"""`xcore dev`: a folder served while its author works on it."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controller.cli import app
from controller.cli.exits import Exit
from controller.cli.rollout import Output, overlap
from tests.harness import XCORE, until
from tests.support import HELLO, write_plugin
from tests.wheels import index

__all__ = ["index"]
BROKEN = f"import nothing_like_it\n{HELLO}"


@dataclass
class Terminal:
    """A running command: what it said so far, and its process."""

    process: subprocess.Popen
    said: Path

    @property
    def text(self):
        return self.said.read_text()

    def says(self, pattern, after=0):
        """Await a line; gives where in the text it ends, for what has to come after it."""

        def found():
            assert self.process.poll() is None, self.text
            return re.compile(pattern).search(self.text, after)

        return until(found, what=f"{pattern!r} in the terminal").end()

    def curl(self):
        """Type the command it offers."""
        self.says(r"\n  curl .*\n")
        (line,) = re.findall(r"\n  (curl .*)\n", self.text)
        done = subprocess.run(
            [*shlex.split(line), "-sS"], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)


@pytest.fixture
def run(open_dir, temporary):
    """Start `xcore dev`; it is ended by Ctrl-C, twice, and then has succeeded."""
    with contextlib.ExitStack() as stack:

        def one(folder, *options):
            keep = {k: v for k, v in os.environ.items() if not k.startswith(("XCORE_", "PYTEST_", "COV_"))}
            said = open_dir / "said.txt"
            command = [XCORE, "dev", folder, "--port", "0", *options]
            with said.open("wb") as file:
                process = subprocess.Popen(
                    command, env={**keep, "TMPDIR": str(temporary)}, stdout=file, stderr=file
                )
            stack.callback(_end, process)
            return Terminal(process, said)

        yield one


def _end(process):
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()


def test_a_save_is_rolled_out_and_told(run, open_dir):
    """It says where it answers, by a command that works; nothing is written into the folder."""
    folder = write_plugin(open_dir / "hello", f"print('up')\n{HELLO}")
    terminal = run(folder)
    assert terminal.curl() == '"Hello world"'
    assert re.search(r"xcore: serves in \d+\.\d s: revision [0-9a-f]{12}\n", terminal.text)
    assert "without a key" in terminal.text
    assert terminal.text.startswith("up\n")
    write_plugin(folder, HELLO.replace("Hello {", "Bye {"))
    terminal.says(r"xcore: reloaded in \d+\.\d s: revision [0-9a-f]{12}\n")
    assert terminal.curl() == '"Bye world"'
    assert sorted(path.name for path in folder.iterdir()) == ["main.py", "plugin.yaml"]


def test_a_broken_save_is_told_while_the_old_one_keeps_serving(run, open_dir):
    """The traceback starts with its author's frame; the manifest's complaint names field and line."""
    folder = write_plugin(open_dir / "hello")
    terminal = run(folder)
    terminal.curl()
    write_plugin(folder, BROKEN)
    end = terminal.says(r"xcore: RolledBack: StartupFailed: [^\n]*; revision [0-9a-f]{12} keeps serving\n")
    terminal.says(r"ModuleNotFoundError: No module named 'nothing_like_it'\n")
    assert f'last):\n  File "{folder}/main.py", line 1, in <module>\n' in terminal.text
    assert terminal.curl() == '"Hello world"'
    write_plugin(folder, replica=2)
    end = terminal.says(r"spec\.replica: line 1: [^\n]*; revision [0-9a-f]{12} keeps serving\n", end)
    write_plugin(folder, HELLO.replace("Hello {", "Bye {"))
    terminal.says(r"xcore: reloaded in ", end)
    assert terminal.curl() == '"Bye world"'


def test_a_plugin_broken_at_the_start_waits_for_the_save_that_mends_it(run, open_dir):
    """It says that nothing serves, and does not end."""
    folder = write_plugin(open_dir / "hello", BROKEN)
    terminal = run(folder)
    end = terminal.says(r"xcore: StartupFailed: [^\n]*; nothing serves until a save mends it\n")
    write_plugin(folder)
    terminal.says(r"xcore: serves in ", end)
    assert terminal.curl() == '"Hello world"'


def test_dependencies_are_locked_first_and_again_when_they_change(run, open_dir, index):
    """The lock is the one file it writes; libraries are there at once."""
    index.add("tool", "1.5")
    index.add("other", "2.5")
    code = HELLO.replace('f"Hello {name}"', "__import__(name).VERSION").replace('"world"', '"tool"')
    folder = write_plugin(open_dir / "hello", code, dependencies=["tool"])
    terminal = run(folder)
    assert terminal.curl() == '"1.5"'
    assert "xcore: plugin.lock is written: commit it\n" in terminal.text
    end = len(terminal.text)
    write_plugin(folder, code.replace('"tool"', '"other"'), dependencies=["tool", "other"])
    terminal.says(r"xcore: reloaded in ", terminal.says(r"plugin.lock is written", end))
    assert terminal.curl() == '"2.5"'
    write_plugin(folder, code, dependencies=["tool", "nosuch"])
    terminal.says(r"xcore: DependenciesUnresolved: Because nosuch was not found")
    assert sorted(path.name for path in folder.iterdir()) == ["main.py", "plugin.lock", "plugin.yaml"]


def test_an_interrupted_start_leaves_nothing(run, open_dir, temporary):
    """Ctrl-C while the controller starts ends it as well; the fixtures look at what is left."""
    terminal = run(write_plugin(open_dir / "hello"))
    until(lambda: list(temporary.iterdir()), what="the controller's directory")
    terminal.interrupt()
    assert terminal.process.wait(60) == 0


def test_whatever_kills_it_its_controller_goes_too(run, open_dir, temporary):
    """The plugin's process and all files are gone after a SIGKILL."""
    code = "import os\nprint('pid', os.getpid(), flush=True)\n" + HELLO
    terminal = run(write_plugin(open_dir / "hello", code))
    terminal.curl()
    (pid,) = re.findall(r"pid (\d+)", terminal.text)
    terminal.process.kill()
    until(
        lambda: not list(temporary.iterdir()) and not Path("/proc", pid).exists(), what="nothing being left"
    )
    terminal.process.wait()
    terminal.process.send_signal = terminal.process.wait = lambda *_: 0


def invoke(*arguments):
    return CliRunner().invoke(app, ["dev", *(str(argument) for argument in arguments)])


def test_what_cannot_be_served_is_said_at_once(open_dir):
    """A folder, a manifest in it, one that can be read: each by a sentence and its exit code."""
    done = invoke(open_dir / "none")
    assert (done.exit_code, done.stderr) == (
        Exit.NOT_FOUND,
        f"NotFound: there is no folder {open_dir}/none\n",
    )
    done = invoke(open_dir)
    assert (done.exit_code, done.stderr) == (
        Exit.NOT_FOUND,
        f"NotFound: there is no plugin.yaml in {open_dir}\n",
    )
    (open_dir / "plugin.yaml").write_text("apiVersion: x\nkind: [\n")
    done = invoke(open_dir)
    assert done.exit_code == Exit.FAILED
    assert "line " in done.stderr


def test_a_port_that_is_taken_is_named(open_dir):
    """With the option that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = invoke(write_plugin(open_dir / "hello"), "--port", port)
    assert (done.exit_code, done.stderr) == (
        Exit.FAILED,
        f"NotStarted: port {port} of 127.0.0.1 cannot be had: Address already in use; choose another with --port\n",
    )


def test_docker_where_no_engine_answers_is_unreachable(open_dir, temporary):
    """It does not take anything else instead."""
    environment = {
        **os.environ,
        "XCORE_DOCKER_HOST": "unix:///nonexistent.sock",
        "TMPDIR": str(temporary),
    }
    command = [XCORE, "dev", write_plugin(open_dir / "hello"), "--docker", "--port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == Exit.UNREACHABLE
    assert done.stderr.startswith("NotStarted: the Docker engine at unix:///nonexistent.sock does not answer")


def test_lines_are_shown_once(tmp_path):
    """However much was dropped at the front, and where the last line was only half there."""
    assert overlap(["a", "b", "c"], ["b", "c", "d"]) == 2
    assert overlap(["a", "b", "c"], ["a", "b", "cd"]) == 2
    shown = Output(tmp_path)

    def fresh(*lines):
        return shown.fresh([{"instance": "one", "text": line} for line in lines])

    assert [fresh("a"), fresh("a"), fresh("a", "a"), fresh()] == [["a"], [], ["a"], []]
