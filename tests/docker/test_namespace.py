"""The proof that a sandbox's network is cut off is one: it fails where the network is not."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox_image.tag import image_tag
from xcore.errors import UpstreamIdentity, UpstreamUnreachable
from xcore.runtimes.netns import Namespace, Namespaces

pytestmark = pytest.mark.docker


@pytest.fixture
def visits() -> Iterator[Namespaces]:
    made = Namespaces()
    yield made
    made.close()


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


@pytest.fixture
def container(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """One on the network a test names: gives its id and the pid of its first process."""
    options = ("--detach", "--rm", "--entrypoint", "sleep", "--network", request.param)
    made = docker("run", *options, image_tag(), "600")
    yield made, json.loads(docker("inspect", made))[0]["State"]["Pid"]
    docker("rm", "--force", made)


@pytest.mark.parametrize("container", ["none"], indirect=True)
async def test_a_network_of_nothing_but_loopback_is_proven(
    container: tuple[str, int], visits: Namespaces
) -> None:
    await Namespace(*container, visits).prove()


@pytest.mark.parametrize("container", ["bridge"], indirect=True)
async def test_a_device_beside_loopback_is_found(container: tuple[str, int], visits: Namespaces) -> None:
    with pytest.raises(UpstreamIdentity, match="network devices beside loopback: eth0"):
        await Namespace(*container, visits).prove()


@pytest.mark.parametrize("container", ["host"], indirect=True)
async def test_the_hosts_own_network_is_never_taken_for_a_sandboxs(
    container: tuple[str, int], visits: Namespaces
) -> None:
    """Not even to make a socket in."""
    namespace = Namespace(*container, visits)
    with pytest.raises(UpstreamIdentity, match="shares the host's network"):
        await namespace.prove()
    with pytest.raises(UpstreamIdentity, match="shares the host's network"):
        await namespace.socket(socket.AF_INET)


@pytest.mark.parametrize("container", ["none"], indirect=True)
async def test_a_process_that_is_not_of_the_container_is_not_visited(
    container: tuple[str, int], visits: Namespaces
) -> None:
    """A pid that was given away again belongs to somebody else."""
    other, pid = container[0], container[1]
    with pytest.raises(UpstreamUnreachable, match="the sandbox has ended"):
        await Namespace("0" * 64, pid, visits).prove()
    with pytest.raises(UpstreamUnreachable, match="cannot be entered"):
        await Namespace(other, 2**22 + 1, visits).prove()


@pytest.mark.parametrize("container", ["none"], indirect=True)
async def test_nobody_but_the_visitor_changes_place_and_it_comes_back(
    container: tuple[str, int], visits: Namespaces
) -> None:
    """A socket is of the namespace it was made in; the visitor is home before anybody gets it."""

    def at() -> str:
        return str(Path(f"/proc/self/task/{threading.get_native_id()}/ns/net").readlink())

    home = at()
    made = await Namespace(*container, visits).socket(socket.AF_INET)
    with made, socket.create_server(("127.0.0.1", 0)) as ours:
        assert made.connect_ex(ours.getsockname()) != 0
        assert (at(), await visits.run(at)) == (home, home)
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.accept()
