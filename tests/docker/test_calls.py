"""Plugins that call plugins from containers: without a network, by a socket they cannot replace, over restarts of the controller."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.controller.callers import GRANTED, LEFT, check, write_both
from tests.docker.conftest import Running
from tests.docker.test_unprivileged import ENGINE_SOCKET, USER
from tests.harness import Controller, until

pytestmark = pytest.mark.docker

ATTACKER = """
    import asyncio
    import errno
    import os
    import socket
    from pathlib import Path
    from typing import Any

    from xcore.plugin import CallFailed, Plugin, action
    from xcore.plugin.calling import calls_in

    CALLS = Path("/run/calls")

    def tried(what) -> str:
        try:
            what()
        except OSError as error:
            return errno.errorcode[error.errno]
        return "done"

    def listen() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(CALLS / "mine.sock"))

    class Attacker(Plugin):
        @action
        def replace(self) -> dict[str, str]:
            return {
                "unlink": tried((CALLS / "c.sock").unlink),
                "rename": tried(lambda: os.rename(CALLS / "c.sock", CALLS / "d.sock")),
                "bind": tried(listen),
                "chmod": tried(lambda: CALLS.chmod(0o777)),
                "write": tried(lambda: (CALLS / "token").write_text("mine")),
                "mkdir": tried(lambda: (CALLS / "x").mkdir()),
            }

        @action
        def surroundings(self) -> dict[str, str]:
            return dict(os.environ)

        @action
        async def borrow(self, token: str) -> str:
            # With another instance's token, at this one's socket.
            way = calls_in(CALLS)
            way._token = lambda: token
            reply = await way("stock/take", b'{"sku": "a"}', "application/json")
            return reply.headers["xcore-reason"]
"""


WATCHER = """
    import asyncio
    from collections import Counter

    from xcore.plugin import CallFailed, Plugin, action

    class Watcher(Plugin):
        async def startup(self) -> None:
            self.came: Counter[str] = Counter()
            self.watching = asyncio.create_task(self.watch())

        async def watch(self) -> None:
            while True:
                try:
                    await self.context.call("stock", "take", sku="a")
                    self.came["well"] += 1
                except CallFailed as failed:
                    self.came[failed.reason] += 1
                await asyncio.sleep(0.01)

        @action
        async def outcomes(self) -> dict[str, int]:
            return self.came
"""


@pytest.fixture
def both(running: Running) -> Controller:
    write_both(running.plugins)
    return running.controller(XCORE_GRANTED_CALLS=GRANTED)


def test_a_plugin_calls_another_from_a_container(both: Controller) -> None:
    """The very same answers as a child process or a trusted plugin gives."""
    check(both)


def test_a_container_that_calls_has_no_network_and_shows_no_token(running: Running, both: Controller) -> None:
    """One more mount, read-only, and one variable that names it; the token is in no environment, label or inspection."""
    both.wait_ready("shop")
    (container,) = running.engine.containers("shop")
    found = running.engine.inspect(container)
    assert found["HostConfig"]["NetworkMode"] == "none"
    mounts = {mount["Destination"]: mount for mount in found["Mounts"]}
    assert set(mounts) == {"/plugin", "/run/plugin", "/run/calls"}
    assert mounts["/run/calls"]["RW"] is False
    assert "PLUGIN_CALLS=/run/calls" in found["Config"]["Env"]
    directory = Path(mounts["/run/calls"]["Source"])
    assert (directory / "token").read_text() not in json.dumps(found)
    uid = int(found["Config"]["User"].split(":")[0])
    for path in (directory, *directory.iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (0, uid)
        assert path.stat().st_mode & 0o007 == 0


def test_from_inside_the_socket_cannot_be_replaced_and_anothers_token_is_worth_nothing(
    running: Running,
) -> None:
    """Whatever is tried on the directory fails; a stolen token is refused at the thief's own socket."""
    spec: dict[str, Any] = {"calls": ["stock"]}
    running.plugin("attacker", ATTACKER, "Attacker", **spec)
    write_both(running.plugins)
    controller = running.controller(XCORE_GRANTED_CALLS=f"attacker:stock,{GRANTED}")
    for name in ("attacker", "shop", "stock"):
        controller.wait_ready(name)
    tried = controller.call("attacker", "replace").json
    assert tried == dict.fromkeys(tried, "EROFS")
    assert set(controller.call("attacker", "surroundings").json) >= {"PLUGIN_CALLS"}
    tokens = [path.read_text() for path in (running.root / "state" / "calls").glob("*/token")]
    assert len(tokens) == 3
    reasons = []
    for token in tokens:
        answer = controller.call("attacker", "borrow", {"token": token})
        reasons.append(answer.json if answer.status == 200 else "its own")
    assert sorted(reasons) == ["Unauthenticated", "Unauthenticated", "its own"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_instance_that_outlives_the_controller_goes_on_calling(running: Running, end: str) -> None:
    """Adopted, with the socket and the token it has: it is not started anew."""
    write_both(running.plugins)
    controller = running.controller(XCORE_GRANTED_CALLS=GRANTED, XCORE_ON_EXIT="keep")
    for name in ("shop", "stock"):
        controller.wait_ready(name)
    before = sorted(running.engine.containers(running=True))
    getattr(controller, end)()
    controller.start()
    bought = controller.call("shop", "buy", {"sku": "apple"})
    assert (bought.status, bought.json) == (200, LEFT)
    assert sorted(running.engine.containers(running=True)) == before


def test_calls_wait_for_the_next_controller_and_none_is_refused_by_it(running: Running) -> None:
    """One that is cut by a kill is told so; whoever calls while the next one reads up is answered when it has."""
    running.plugin("watcher", WATCHER, "Watcher", calls=["stock"])
    write_both(running.plugins)
    controller = running.controller(XCORE_GRANTED_CALLS="watcher:stock", XCORE_ON_EXIT="keep")
    for name in ("watcher", "stock"):
        controller.wait_ready(name)
    until(lambda: controller.call("watcher", "outcomes").json.get("well", 0) > 20)
    before = controller.call("watcher", "outcomes").json
    controller.kill()
    controller.start()
    served = controller.call("watcher", "outcomes").json["well"]
    until(lambda: controller.call("watcher", "outcomes").json["well"] > served + 20)
    after = controller.call("watcher", "outcomes").json
    print({reason: after[reason] - before.get(reason, 0) for reason in after})
    # Cut by the kill, or away for over CONNECT_SECONDS.
    assert set(after) - set(before) <= {"UpstreamUnreachable", "RuntimeUnavailable"}
    assert after.get("UpstreamUnreachable", 0) <= 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_controller_that_is_not_root_answers_calls_too(running: Running) -> None:
    """It can give no file away: what an instance gets lies below a directory that only the engine passes."""
    write_both(running.plugins)
    state = running.root / "state"
    state.mkdir()
    os.chown(state, USER, USER)
    group = ENGINE_SOCKET.stat().st_gid
    prefix = ("setpriv", f"--reuid={USER}", f"--regid={USER}", f"--groups={group}", "--")
    controller = Controller(
        running.plugins, state, {**running.settings, "XCORE_GRANTED_CALLS": GRANTED}, prefix
    )
    running.started.append(controller)
    controller.start()
    for name in ("shop", "stock"):
        controller.wait_ready(name)
    assert controller.call("shop", "buy", {"sku": "apple"}).json == LEFT
    assert (state / "calls").stat().st_mode & 0o777 == 0o700
    assert controller.stop() == 0
    assert list((state / "calls").iterdir()) == []


def test_whom_it_may_call_changes_without_a_new_container(running: Running, both: Controller) -> None:
    """The list is looked at for each call; only that there is one at all is the container's affair."""
    both.wait_ready("shop")
    before = running.engine.containers("shop")
    write_both(running.plugins, calls=("absent",))

    def refused() -> bool:
        told = both.call("shop", "told", {"plugin": "stock", "name": "take"}).json
        return told.get("reason") == "Forbidden"

    until(refused)
    assert running.engine.containers("shop") == before
