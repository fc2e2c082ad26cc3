"""The process engine with real children and real sockets; no container engine is needed.

Where control groups are writable (root, usually) memory is judged by them; elsewhere by the rlimit that stands in.
"""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import answers, call, lines_of, until, workload, write_plugin
from xcore.errors import UpstreamError, WorkloadRejected
from xcore.runtimes import procfs, reach
from xcore.runtimes.process import ProcessEngine
from xcore.runtimes.uids import UIDS
from xcore.workload import ExitReason

ROOT = Path(__file__).resolve().parents[3]
AS_ROOT = os.geteuid() == 0

INSPECT = """
import ctypes, os, resource, subprocess, sys, threading, time
from xcore.plugin import Plugin, action

class Hello(Plugin):
    @action
    async def look(self) -> dict:
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        limits = {n: resource.getrlimit(getattr(resource, "RLIMIT_" + n))[1] for n in ("NOFILE", "CORE", "FSIZE")}
        return {
            "pid": os.getpid(), "environment": dict(os.environ), "uids": list(os.getresuid()),
            "groups": os.getgroups(), "no_new_privs": status["NoNewPrivs"].strip(), "caps": status["CapPrm"].strip(),
            "limits": limits, "session": os.getsid(0), "cwd": os.getcwd(), "argv": sys.argv,
            "stdin": os.readlink("/proc/self/fd/0"),
        }

    @action
    async def eat(self, mebibytes: int) -> int:
        self.eaten = bytearray(os.urandom(1)) * (mebibytes * 2**20)
        return len(self.eaten)

    @action
    async def eat_in_child(self, mebibytes: int) -> int:
        code = f"x = bytearray(b'x') * ({mebibytes} * 2**20); import time; time.sleep(60)"
        return subprocess.run([sys.executable, "-c", code]).returncode

    @action
    async def leave(self, code: int) -> None:
        os._exit(code)

    @action
    async def spawn(self, own_session: bool) -> int:
        return subprocess.Popen(["sleep", "600"], start_new_session=own_session).pid

    @action
    async def say(self, text: str, times: int) -> None:
        for _ in range(times):
            print(text)
        sys.stdout.flush()

    @action
    async def close_streams(self) -> str:
        for descriptor in range(3):
            os.close(descriptor)
        return "closed"

    @action
    async def write_tmp(self, size: int) -> int:
        with open(os.path.join(os.environ["TMPDIR"], "f"), "wb") as file:
            return file.write(b"x" * size)
"""

STUBBORN = """
import signal, time
from xcore.plugin import Plugin, action

class Hello(Plugin):
    @action
    async def hang(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
"""


@pytest.fixture
async def engine(open_dir):
    engine = ProcessEngine(state_dir=open_dir / "state")
    (open_dir / "state").mkdir(mode=0o755)
    await engine.open()
    yield engine
    await engine.aclose()


@pytest.fixture
async def started(engine, open_dir):
    """Start a plugin and wait until it answers."""

    async def start(code=INSPECT, **spec):
        instance = await engine.start(workload(write_plugin(open_dir / "code" / "hello", code, **spec)))
        await answers(instance.endpoint)
        return instance

    return start


async def found(engine):
    (instance,) = await engine.list("hello")
    return instance


async def ended(engine):
    return await until(lambda: over(engine), what="the end")


async def over(engine):
    instance = await found(engine)
    return instance if instance.exit is not None else None


async def look(instance):
    status, seen = await call(instance.endpoint, "look")
    assert status == 200
    return seen


def living(pid):
    return procfs.session(pid) is not None


async def test_a_started_plugin_answers_probes_and_actions(engine, started):
    instance = await started()
    assert await answers(instance.endpoint, "/ready") == b"ok\n"
    assert await answers(instance.endpoint, "/live") == b"ok\n"
    assert await call(instance.endpoint, "eat", {"mebibytes": 1}) == (200, 2**20)
    assert (await found(engine)) == instance
    assert instance.exit is None
    assert (instance.plugin, instance.generation) == ("hello", 1)


async def test_nothing_of_the_controllers_environment_reaches_the_child(monkeypatch, started):
    monkeypatch.setenv("XCORE_SENTINEL", "53NT1N3L")
    seen = await look(await started(env=[{"name": "MODE", "value": "test"}]))
    assert "53NT1N3L" not in json.dumps(seen["environment"])
    assert set(seen["environment"]) <= {
        *("HOME", "TMPDIR", "LANG", "LC_CTYPE", "PATH", "MODE", "OMP_NUM_THREADS"),
        *(
            "PYTHONDONTWRITEBYTECODE",
            "PYTHONPATH",
            "PLUGIN_PATH",
            "PLUGIN_SECRETS",
            "PLUGIN_SOCKET",
            "PLUGIN_SPEC",
        ),
    }
    assert seen["environment"]["MODE"] == "test"


async def test_the_child_is_bounded_before_its_first_line_runs(started):
    seen = await look(await started())
    assert seen["no_new_privs"] == "1"
    assert seen["limits"] == {"NOFILE": 1024, "CORE": 0, "FSIZE": 16 * 2**20}
    assert seen["session"] == seen["pid"]
    assert (seen["cwd"], seen["stdin"]) == ("/", "/dev/null")


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a child another user")
async def test_run_by_root_every_instance_has_a_user_of_its_own(engine, started, open_dir):
    first = await look(await started())
    other = await engine.start(workload(open_dir / "code" / "hello"))
    await answers(other.endpoint)
    second = await look(other)
    for seen in (first, second):
        assert len(set(seen["uids"])) == 1
        assert seen["uids"][0] in UIDS
        assert seen["groups"] == []
        assert int(seen["caps"], 16) == 0
    assert first["uids"] != second["uids"]


@pytest.mark.parametrize(
    ("code", "reason"), [(0, ExitReason.Completed), (1, ExitReason.Error), (137, ExitReason.Error)]
)
async def test_an_exit_is_told_by_its_code(engine, started, code, reason):
    instance = await started()
    with pytest.raises((UpstreamError, IndexError)):
        await call(instance.endpoint, "leave", {"code": code})
    exited = (await ended(engine)).exit
    assert (exited.reason, exited.code) == (reason, code)


async def test_a_kill_from_outside_is_a_signal(engine, started):
    instance = await started()
    os.kill((await look(instance))["pid"], signal.SIGKILL)
    exited = (await ended(engine)).exit
    assert (exited.reason, exited.code) == (ExitReason.Signal, 137)


async def test_a_startup_that_fails_ends_with_70_and_its_traceback_is_in_the_logs(engine, open_dir):
    code = (
        "from xcore.plugin import Plugin\nclass Hello(Plugin):\n    async def startup(self):\n        1 / 0\n"
    )
    instance = await engine.start(workload(write_plugin(open_dir / "hello", code)))
    exited = (await ended(engine)).exit
    assert (exited.reason, exited.code) == (ExitReason.Error, 70)
    assert "ZeroDivisionError: division by zero" in await lines_of(engine, instance)


async def test_eating_memory_ends_the_instance_and_says_so(engine, started):
    """Needs a writable memory control group for OutOfMemory; under an rlimit the action fails and the plugin lives."""
    instance = await started()
    if "memory" in engine.enforced:
        with pytest.raises((UpstreamError, IndexError, OSError)):
            await call(instance.endpoint, "eat", {"mebibytes": 300})
        over = await ended(engine)
        assert (over.exit.reason, over.exit.code, over.oom) == (ExitReason.OutOfMemory, 137, True)
    else:
        status, problem = await call(instance.endpoint, "eat", {"mebibytes": 300})
        assert (status, problem["reason"]) == (500, "ActionFailed")
        await answers(instance.endpoint, "/live")


async def test_a_forked_child_killed_for_memory_is_noticed_while_the_plugin_lives(engine, started):
    """Needs a writable memory control group: without one nobody is killed."""
    instance = await started()
    watched = asyncio.create_task(anext(aiter(engine.watch())))
    status, code = await call(instance.endpoint, "eat_in_child", {"mebibytes": 300})
    assert status == 200
    if "memory" not in engine.enforced:
        assert code == 1
        watched.cancel()
        return
    assert code == -signal.SIGKILL
    assert await asyncio.wait_for(watched, 5) == "hello"
    now = await found(engine)
    assert (now.oom, now.exit) == (True, None)


async def test_a_polite_plugin_stops_by_itself(engine, started):
    instance = await started()
    await engine.stop(instance, grace=10)
    exited = (await found(engine)).exit
    assert (exited.reason, exited.code) == (ExitReason.Completed, 0)
    await engine.stop(instance, grace=10)
    await engine.remove(instance)
    await engine.remove(instance)
    assert await engine.list() == []
    assert not instance.endpoint.directory.exists()


async def test_a_stubborn_plugin_is_killed_after_its_grace(engine, started):
    instance = await started(STUBBORN)
    hanging = asyncio.create_task(call(instance.endpoint, "hang"))
    await until(lambda: ignores_sigterm(engine), what="the hang")
    await engine.stop(instance, grace=0.2)
    exited = (await found(engine)).exit
    assert (exited.reason, exited.code) == (ExitReason.Signal, 137)
    with pytest.raises((IndexError, OSError)):
        await hanging


def ignores_sigterm(engine):
    (child, _), *_ = engine._children.values()
    status = Path(f"/proc/{child.pid}/status").read_text()
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    return int(ignored.split()[1], 16) & (1 << (signal.SIGTERM - 1))


@pytest.mark.parametrize("own_session", [False, pytest.param(True, id="own-session")])
async def test_nothing_outlives_the_plugin(engine, started, own_session):
    if own_session and not AS_ROOT and not engine.enforced:
        own_session = False  # a process that left the session is known by its user or its group alone
    instance = await started()
    _, pid = await call(instance.endpoint, "spawn", {"own_session": own_session})
    assert living(pid)
    os.kill((await look(instance))["pid"], signal.SIGKILL)
    await ended(engine)
    assert not living(pid)


async def test_output_is_kept_with_its_time_and_bounded(engine, started):
    instance = await started()
    assert (await call(instance.endpoint, "say", {"text": "x" * 99, "times": 100_000}))[0] == 200
    assert (await call(instance.endpoint, "say", {"text": "the end", "times": 1}))[0] == 200
    await until(lambda: last_line(engine, instance), what="the last line")
    kept = [line async for line in engine.logs(instance, lines=100_000, follow=False)]
    assert 1_000 < len(kept) <= 10_000
    assert sum(len(line.text) + 1 for line in kept) <= 2**20
    assert kept[-1].time.endswith("Z")
    assert kept[-1].instance == instance.id
    assert [line.text async for line in engine.logs(instance, lines=1, follow=False)] == ["the end"]


async def last_line(engine, instance):
    return "the end" in await lines_of(engine, instance, lines=1)


async def test_logs_are_followed_to_the_end(engine, started):
    instance = await started()
    seen = asyncio.Queue()

    async def read():
        async for line in engine.logs(instance, lines=0, follow=True):
            seen.put_nowait(line.text)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    await call(instance.endpoint, "say", {"text": "one", "times": 1})
    assert await asyncio.wait_for(seen.get(), 5) == "one"
    await engine.stop(instance, grace=5)
    await asyncio.wait_for(reading, 5)


async def test_closed_streams_disturb_nothing(engine, started):
    instance = await started()
    assert await call(instance.endpoint, "close_streams") == (200, "closed")
    assert (await call(instance.endpoint, "say", {"text": "void", "times": 10}))[0] == 200
    assert (await look(instance))["pid"] > 0
    await engine.stop(instance, grace=5)


async def test_a_file_larger_than_tmp_is_refused(started):
    instance = await started(resources={"tmp": "1Mi"})
    assert (await call(instance.endpoint, "write_tmp", {"size": 1000}))[0] == 200
    status, problem = await call(instance.endpoint, "write_tmp", {"size": 2 * 2**20})
    assert (status, problem["reason"]) == (500, "ActionFailed")


async def test_a_stranger_behind_the_socket_is_not_believed(engine, started):
    instance = await started()
    assert not instance.endpoint.belongs(os.getpid())
    assert instance.endpoint.belongs((await look(instance))["pid"])


PARENT = """
import asyncio, sys
from pathlib import Path
from tests.support import answers, call, workload
from xcore.runtimes.process import ProcessEngine

async def main():
    engine = ProcessEngine(state_dir=Path(sys.argv[1]))
    await engine.open()
    instance = await engine.start(workload(sys.argv[2]))
    await answers(instance.endpoint)
    _, pid = await call(instance.endpoint, "spawn", {"own_session": False})
    print((await call(instance.endpoint, "look"))[1]["pid"], pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_child_dies_with_its_controller_and_the_next_one_cleans_up(open_dir):
    state = open_dir / "state"
    plugin = write_plugin(open_dir / "hello", INSPECT)
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(state), str(plugin)), cwd=ROOT, stdout=subprocess.PIPE
    )
    main, forked = map(int, (await asyncio.wait_for(parent.stdout.readline(), 20)).split())
    parent.kill()
    await parent.wait()
    await until(lambda: not living(main), what="the child's end")
    assert living(forked)
    engine = ProcessEngine(state_dir=state)
    await engine.open()
    await until(lambda: not living(forked), what="the leftover's end")
    assert list((state / "run").iterdir()) == []
    await engine.aclose()


@pytest.mark.skipif(not AS_ROOT, reason="only root gives its children another user")
async def test_code_that_the_childs_user_cannot_read_is_refused_and_says_what_to_change(
    engine, open_dir, caplog
):
    plugin = write_plugin(open_dir / "private" / "hello", INSPECT)
    (open_dir / "private").chmod(0o700)
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(WorkloadRejected, match=r"cannot read the copy of its code: .*o\+x") as refused,
    ):
        await engine.start(workload(plugin))
    assert str(open_dir) not in refused.value.detail
    assert str(open_dir / "private") in caplog.text
    assert await engine.list() == []


@pytest.mark.skipif(not AS_ROOT, reason="only root gives its children another user")
async def test_an_interpreter_below_a_private_home_is_refused(engine, open_dir, monkeypatch):
    home = open_dir / "home"
    home.mkdir(mode=0o700)
    (home / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(home / "python"))
    with pytest.raises(WorkloadRejected, match="cannot read the Python interpreter"):
        await engine.start(workload(write_plugin(open_dir / "hello", INSPECT)))


def test_what_closes_a_path_is_named(open_dir):
    inner = open_dir / "a" / "b"
    inner.mkdir(parents=True)
    assert reach.closed(inner) is None
    inner.chmod(0o751)
    assert reach.closed(inner) == inner
    (open_dir / "a").chmod(0o750)
    assert reach.closed(inner) == open_dir / "a"


async def test_a_state_directory_too_deep_for_a_socket_is_refused(open_dir):
    engine = ProcessEngine(state_dir=open_dir / ("d" * 100))
    await engine.open()
    with pytest.raises(WorkloadRejected, match="too long for a unix socket"):
        await engine.start(workload(write_plugin(open_dir / "hello", INSPECT)))
    await engine.aclose()


async def test_closing_the_engine_ends_every_child(open_dir):
    engine = ProcessEngine(state_dir=open_dir / "state")
    await engine.open()
    instance = await engine.start(workload(write_plugin(open_dir / "hello", INSPECT)))
    await answers(instance.endpoint)
    pid = (await look(instance))["pid"]
    await engine.aclose()
    assert not living(pid)
    assert list((open_dir / "state" / "run").iterdir()) == []


async def test_a_runtime_class_is_refused(engine, open_dir):
    plugin = workload(write_plugin(open_dir / "hello", INSPECT, runtimeClass="gvisor"))
    assert [p.field for p in engine.check(plugin.manifest)] == ["spec.runtimeClass"]
    assert list(engine.check(workload(write_plugin(open_dir / "hello", INSPECT)).manifest)) == []
    assert engine.isolates(None)[:2] == ("False", "NotEnforced")


READS_SECRETS = """
import os
from pathlib import Path
from xcore.plugin import Plugin, action

class Reader(Plugin):
    @action
    async def read(self) -> dict[str, str]:
        files = Path(os.environ["PLUGIN_SECRETS"]).glob("*/*")
        return {**self.context.secrets, **{f"file {path.name}": oct(path.stat().st_mode & 0o777) for path in files}}
"""


async def test_a_child_gets_its_secrets_as_files_nobody_else_can_read(open_dir):
    values = {"db/user": b"ada", "db/blob": b"\xff"}
    engine = ProcessEngine(state_dir=open_dir / "state", read_secrets=lambda wanted: values if wanted else {})
    await engine.open()
    try:
        folder = open_dir / "code" / "hello"
        write_plugin(folder, READS_SECRETS, entrypoint="main:Reader", secrets=[{"name": "db"}])
        instance = await engine.start(workload(folder))
        await answers(instance.endpoint)
        mode = "0o440" if AS_ROOT else "0o444"
        expected = {"db/user": "ada", "file user": mode, "file blob": mode}
        assert await call(instance.endpoint, "read") == (200, expected)
    finally:
        await engine.aclose()
