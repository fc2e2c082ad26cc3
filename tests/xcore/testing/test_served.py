"""A folder on a controller of its own, as the author's tests hold it. In child processes: no engine is needed."""

import contextlib
import socket
import time

import pytest

from tests.harness import until
from tests.support import HELLO, write_plugin
from xcore.testing.alone import Alone, NotServed, NotStarted
from xcore.testing.served import CallFailed, ServedPlugin
from xcore.testing.session import serve

CODE = f"""
import os
from collections.abc import AsyncIterator
print("up")
{HELLO}
    @action
    async def length(self, body: bytes, times: int = 1) -> int:
        return len(body) * times

    @action
    async def raw(self) -> bytes:
        return b"\\0\\1"

    @action
    async def fail(self) -> None:
        raise KeyError("no")

    @action
    async def count(self, start: int, fail: bool = False) -> AsyncIterator[int]:
        for number in range(start, 0, -1):
            yield number
        if fail:
            raise KeyError("late")

    @action
    async def pid(self) -> int:
        return os.getpid()
"""


@pytest.fixture
def temporary(open_dir, monkeypatch):
    """Where everything of the controller lies; empty again when it has ended."""
    place = open_dir / "tmp"
    place.mkdir()
    place.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    assert list(place.iterdir()) == []


def alone(folder, **options):
    return Alone(folder, name="hello", runtime="process", **options)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = write_plugin(tmp_path_factory.mktemp("author") / "hello", CODE, isolation="Trusted")
    with alone(folder) as controller, contextlib.closing(ServedPlugin(controller, controller.ready())) as one:
        yield one


def test_a_result_is_what_the_action_returned(served):
    """JSON is decoded, bytes stay bytes; a raw body goes with arguments in the query."""
    assert served.call("greet", name="Ada") == "Hello Ada"
    assert served.call("raw") == b"\0\1"
    assert served.call("length", b"four", times=2) == 8


def test_a_call_that_fails_says_everything(served):
    """Status, reason and wrong fields of what was refused; the traceback of what was raised."""
    with pytest.raises(CallFailed) as refused:
        served.call("greet", name=1)
    assert (refused.value.status, refused.value.reason) == (422, "InvalidArguments")
    assert refused.value.errors == {"name": "Expected `str`, got `int`"}

    with pytest.raises(CallFailed) as raised:
        served.call("fail")
    assert (raised.value.status, raised.value.reason) == (500, "ActionFailed")
    _, head, frame, *_, last = str(raised.value).splitlines()
    assert head == "Traceback (most recent call last):"
    assert frame.endswith(", in fail")
    assert "/hello/main.py" in frame
    assert last == "KeyError: 'no'"


def test_a_stream_is_read_item_by_item(served):
    """To its end, or up to a failure midway, which has the traceback; what is refused at once is told as of a call."""
    assert list(served.stream("count", start=3)) == [3, 2, 1]
    items = []
    with pytest.raises(CallFailed, match="KeyError: 'late'") as failed:
        items.extend(served.stream("count", start=2, fail=True))
    assert failed.value.reason == "ActionFailed"
    with pytest.raises(CallFailed) as refused:
        list(served.stream("count", start="x"))
    assert (refused.value.status, list(refused.value.errors)) == (422, ["start"])


def test_raw_answers_have_any_status(served):
    """Below its own address, with the key."""
    assert served.get("/nothing").status_code == 404
    assert served.post("/greet", json={}).json() == "Hello world"


def test_a_trusted_plugin_runs_in_a_sandbox_too(served):
    """What its author tries out is not let into any process of ours."""
    assert served.runtime == "process"
    assert served.logs()[0] == "up"
    assert served.told()[-1] == "hello was served in a child process"


def test_its_controller_asks_for_a_key_unless_told_otherwise(open_dir, temporary):
    """Only whoever started it may use it; keyless, whoever is on this machine."""
    folder = write_plugin(open_dir / "hello")
    for keyless, status in ((False, 401), (True, 200)):
        with alone(folder, keyless=keyless) as controller:
            controller.ready()
            headers = {"Authorization": "Bearer wrong"}
            assert controller.http.get("/api/v1/plugins", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [
        ("raise SystemExit(3)", "StartupFailed", "exit code 70"),
        (
            f"{HELLO}\n    async def startup(self):\n        raise OSError('no disk')\n",
            "StartupFailed",
            "no disk",
        ),
        (
            f"import os\n{HELLO}\n    async def startup(self):\n        os._exit(0)\n",
            "StartupFailed",
            "Completed",
        ),
    ],
)
def test_a_plugin_that_does_not_start_is_given_up_at_once(code, reason, says, open_dir, temporary):
    """Reason and sentence are those of its status; nobody waits for the next attempt."""
    began = time.monotonic()
    with alone(write_plugin(open_dir / "hello", code)) as controller, pytest.raises(NotServed) as failed:
        controller.ready()
    assert failed.value.reason == reason
    assert says in failed.value.detail
    assert time.monotonic() - began < 20


def test_a_plugin_that_hangs_is_given_up_in_time(open_dir, temporary):
    """A `startup` that never ends is waited for as long as was said, and then ended."""
    code = f"import asyncio\n{HELLO}\n    async def startup(self):\n        await asyncio.Event().wait()\n"
    told = []
    with alone(write_plugin(open_dir / "hello", code)) as controller:
        until(lambda: controller.resource() is not None, 30)
        with pytest.raises(NotServed) as failed:
            controller.ready(2, told.append)
    assert (failed.value.reason, told[-1]) == ("WaitTimeout", "Starting")
    assert failed.value.detail == "it does not serve after 2 s; Starting"


def test_a_suspended_plugin_is_told(open_dir, temporary):
    """Waiting would not help."""
    with (
        alone(write_plugin(open_dir / "hello", operatingMode="Suspended")) as controller,
        pytest.raises(NotServed) as failed,
    ):
        controller.ready()
    assert failed.value.reason == "Suspended"


def test_a_folder_that_is_refused_is_told(open_dir, temporary):
    """A link in the folder: the same reason and sentence as on any controller."""
    folder = write_plugin(open_dir / "hello")
    (folder / "link").symlink_to("/etc/passwd")
    with alone(folder) as controller, pytest.raises(NotServed) as failed:
        controller.ready()
    assert (failed.value.reason, failed.value.detail.partition(" ")[0]) == ("InvalidBundle", "link")


def test_a_port_in_use_is_found_before_anything_starts(open_dir, temporary):
    """The port is bound when it is made."""
    with alone(write_plugin(open_dir / "hello")) as controller, pytest.raises(OSError, match="in use"):
        alone(open_dir / "hello", port=int(controller.url.rpartition(":")[2]))


def test_an_engine_that_is_not_there_is_told(open_dir, temporary, monkeypatch):
    """Docker named outright is Docker or nothing."""
    monkeypatch.setenv("XCORE_DOCKER_HOST", "unix:///nonexistent.sock")
    folder = write_plugin(open_dir / "hello")
    with Alone(folder, name="hello", runtime="docker") as controller, pytest.raises(NotStarted) as failed:
        controller.ready()
    assert failed.value.detail.startswith("the Docker engine at unix:///nonexistent.sock does not answer")


def test_left_at_once_it_leaves_nothing(open_dir, temporary):
    """Its end may come before its start has ended."""
    with alone(write_plugin(open_dir / "hello")):
        pass


def test_what_hangs_does_not_hold_it_up(open_dir, temporary):
    """A request that never ends is cut when the controller is to end."""
    code = HELLO.replace(
        "return", "import asyncio; print('called', flush=True); await asyncio.Event().wait(); return"
    )
    with alone(write_plugin(open_dir / "hello", code)) as controller:
        controller.ready()
        port = int(controller.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as caller:
            key = controller.http.headers["Authorization"]
            caller.sendall(
                f"POST /app/hello/greet HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            until(lambda: controller.output() == ["called"])
            began = time.monotonic()
            controller.__exit__(None, None, None)
            assert time.monotonic() - began < 15


def test_a_session_serves_or_says_why_not(open_dir, temporary):
    """What cannot be served is a text for the tests that asked for it."""
    good, bad = write_plugin(open_dir / "hello"), write_plugin(open_dir / "bad", "import nothing_like_it")
    (open_dir / "worse").mkdir()
    (open_dir / "worse/plugin.yaml").write_text("kind: Plugin")
    with contextlib.ExitStack() as stack:
        assert serve(good, "process", stack).call("greet") == "Hello world"
        said = serve(bad, "process", stack)
        assert said.splitlines()[0].startswith("bad does not start: StartupFailed: ")
        assert said.splitlines()[2:] == [
            f'  File "{bad}/main.py", line 1, in <module>',
            "    import nothing_like_it",
            "ModuleNotFoundError: No module named 'nothing_like_it'",
        ]
        assert serve(open_dir / "worse", "process", stack).startswith("worse cannot be served: plugin.yaml")
        assert serve(open_dir / "none", "process", stack).startswith("none cannot be served: ")
