"""Sockets by which instances call others: made, answered, adopted, taken back; and what happens when there is no room."""

import asyncio
import os
import resource
import socket
import threading

import pytest

from tests.support import manifest, until
from xcore.errors import WorkloadRejected
from xcore.plugin.calling import CALL_SOCKET, CALL_TOKEN
from xcore.runtimes.callsockets import CONNECTIONS, CallSockets
from xcore.runtimes.docker import DockerEngine
from xcore.runtimes.dockergiven import Given
from xcore.runtimes.handed import no_secrets
from xcore.runtimes.inprocess import InProcessEngine
from xcore.runtimes.process import ProcessEngine


class Answering(asyncio.Protocol):
    """Says who it believes to be called by, and hangs up."""

    def __init__(self, caller, gone):
        self.caller, self.gone = caller, gone

    def connection_made(self, transport):
        transport.write(f"{self.caller.plugin} {self.caller.instance}".encode())
        transport.close()

    def connection_lost(self, exc):
        self.gone()


class Silent(asyncio.Protocol):
    """Waits for the instance to hang up."""

    def __init__(self, caller, gone):
        self.gone = gone

    def connection_lost(self, exc):
        self.gone()


@pytest.fixture
async def sockets(tmp_path):
    made = CallSockets(tmp_path / "calls")
    made.start(Answering)
    yield made
    made.close()
    await asyncio.sleep(0)


async def heard(directory):
    reader, writer = await asyncio.open_unix_connection(directory / CALL_SOCKET)
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return said.decode()


def given(sockets, name, plugin="shop"):
    directory = sockets.give(name, group=None)
    sockets.listen(name, plugin=plugin, instance=f"container-{name}")
    return directory


async def test_each_instance_is_known_by_its_own_socket(sockets):
    """Whatever it says: the socket tells, and each has a token of 256 bits of its own."""
    one, two = given(sockets, "one"), given(sockets, "two", "mail")
    assert await heard(one) == "shop container-one"
    assert await heard(two) == "mail container-two"
    tokens = {(directory / CALL_TOKEN).read_text() for directory in (one, two)}
    assert [len(bytes.fromhex(token)) for token in tokens] == [32, 32]


async def test_an_instance_that_connects_before_anybody_answers_is_answered_then(tmp_path):
    """It waits in the backlog: a plugin may call while it starts."""
    sockets = CallSockets(tmp_path / "calls")
    directory = given(sockets, "one")
    early = asyncio.create_task(heard(directory))
    await asyncio.sleep(0)
    sockets.start(Answering)
    assert await early == "shop container-one"
    sockets.close()


async def test_sockets_are_made_from_any_thread(sockets):
    """As the docker engine does it, and answered on the loop."""
    made = []
    thread = threading.Thread(target=lambda: made.append(given(sockets, "one")))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert await heard(made[0]) == "shop container-one"


async def test_what_nobody_has_any_more_is_swept(sockets):
    """Directories of instances that went while no controller was there."""
    one, two = given(sockets, "one"), given(sockets, "two")
    sockets.sweep(frozenset({"two"}))
    assert (one.exists(), two.exists()) == (False, True)
    assert sockets.caller("one") is None
    assert await heard(two) == "shop container-two"


async def test_listening_twice_leaves_one_listener(sockets):
    """An engine that is opened again takes up what it had: the last one answers."""
    directory = given(sockets, "one")
    sockets.listen("one", plugin="shop", instance="container-one")
    assert await heard(directory) == "shop container-one"


async def test_an_instance_in_this_process_needs_no_file(sockets, tmp_path):
    """It gets pairs of sockets, as many at once as others, on whatever loop it asks."""
    calls = sockets.plug("shop", "guest")
    near, _ = await calls._dial("")
    reader, writer = await asyncio.open_connection(sock=near)
    assert await reader.read() == b"shop guest"
    writer.close()
    assert not (tmp_path / "calls").exists()
    await until(lambda: sockets.connections("guest") == 0)


async def test_an_instance_in_this_process_has_as_many_connections_as_any(tmp_path):
    """The next one is refused as by a full backlog; and all of them, once it has gone."""
    sockets = CallSockets(tmp_path / "calls")
    sockets.start(Silent)
    calls = sockets.plug("shop", "guest")
    ends = [(await calls._dial(""))[0] for _ in range(CONNECTIONS)]
    await until(lambda: sockets.connections("guest") == CONNECTIONS)
    with pytest.raises(BlockingIOError):
        await calls._dial("")
    for end in ends:
        end.close()
    await until(lambda: sockets.connections("guest") == 0)
    sockets.unplug("guest")
    with pytest.raises(BlockingIOError):
        await calls._dial("")
    sockets.close()


async def test_a_process_without_descriptors_answers_when_it_has_some_again(sockets):
    """Not in a circle meanwhile: it looks once a second."""
    directory = given(sockets, "one")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0)
        probe = os.open("/dev/null", os.O_RDONLY)
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
        try:
            client.connect(str(directory / CALL_SOCKET))
            for _ in range(5):
                await asyncio.sleep(0)
            assert sockets.connections("one") == 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(client, 100) == b"shop container-one"


def test_a_path_too_long_for_a_socket_is_refused_with_how_long_it_may_be(tmp_path):
    """Before anything is made of it."""
    sockets = CallSockets(tmp_path / ("d" * 100) / "calls")
    with pytest.raises(WorkloadRejected, match=r"too long for a unix socket: at most \d+ bytes"):
        sockets.give("one", group=None)
    assert list(tmp_path.iterdir()) == []


def test_a_state_directory_that_cannot_be_written_is_told(tmp_path):
    """As the reason why the plugin is not started; nothing is left."""
    (tmp_path / "calls").write_text("a file")
    with pytest.raises(WorkloadRejected, match="the state directory cannot be written"):
        CallSockets(tmp_path / "calls").give("one", group=None)


async def test_a_container_whose_directory_was_removed_does_not_keep_the_controller_from_starting(sockets):
    """It serves on, the log says that it cannot call; the others are taken up."""
    directory = given(sockets, "two")
    sockets.close()  # as an earlier controller did
    mounts = [
        {"Destination": "/run/calls", "Source": str(directory.parent / name)} for name in ("one", "two")
    ]
    containers = [
        {
            "Names": [f"/xcore-shop-{name}"],
            "Mounts": [mount],
            "Id": name,
            "Labels": {"dev.xcore.plugin": "shop"},
        }
        for name, mount in zip(("one", "two"), mounts, strict=True)
    ]
    Given(directory.parent.parent, no_secrets, sockets).open(containers)
    assert sockets.caller("one") is None
    assert await heard(directory) == "shop two"


def test_where_nobody_answers_a_plugin_that_calls_is_refused(tmp_path):
    """An engine in a program of one's own has no controller: the field is named, nothing hangs."""
    engines = (
        DockerEngine(owner="o", image="i", seccomp="{}", state_dir=tmp_path),
        ProcessEngine(state_dir=tmp_path),
        InProcessEngine(),
    )
    for engine in engines:
        assert [problem.field for problem in engine.check(manifest(calls=["stock"]))] == ["spec.calls"]
        assert not engine.check(manifest())
