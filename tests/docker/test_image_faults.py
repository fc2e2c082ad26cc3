"""Containers of other people that misbehave, move or are nowhere: a reason, a sentence, and what served serves on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker import images
from tests.docker.conftest import Engine, Running
from tests.docker.test_image import declare, serving
from tests.harness import Controller, until

pytestmark = pytest.mark.docker

SILENT = "import time; print('here I am', flush=True); time.sleep(3600)"
LEAVES = "import sys; print('starting', flush=True); sys.exit('there is no database')"
WANTS_ROOT = "import os; os.chown('/tmp', 0, 0)"


@pytest.fixture(scope="session")
def built() -> Iterator[dict[str, str]]:
    """The bad images of a test run, by what is bad about them."""
    servers = {"good": images.SERVER, "silent": SILENT, "leaves": LEAVES, "wants-root": WANTS_ROOT}
    references = {name: images.build(name, *images.RUN, server=server) for name, server in servers.items()}
    references["no-command"] = images.build("no-command", "ENTRYPOINT []", "CMD []")
    references["leak"] = images.build("leak", *images.RUN, "WORKDIR /proc/self/fd/8")
    yield references
    images.remove(*references.values())


def tells(controller: Controller, kind: str, reason: str, message: str) -> None:
    """Wait for a condition to say this."""

    def said() -> bool:
        _, found, text = controller.condition("web", kind)
        return found == reason and message in text

    until(said, 40, f"{kind} to be {reason}: {message} (it is {controller.condition('web', kind)})")


def test_an_image_without_the_port_fails_its_start_and_is_told_so(
    running: Running, built: dict[str, str]
) -> None:
    declare(
        running,
        "web",
        built["silent"],
        probes={"startup": {"failureThreshold": 2}},
        restart={"maxRestarts": 0},
    )
    controller = running.controller()
    until(
        lambda: "nothing listens on port 8080" in controller.condition("web", "Ready")[2], 40, "the message"
    )
    assert controller.status("web")["restarts"]["lastReason"] == "ProbeFailed"


@pytest.mark.parametrize(
    ("name", "message"),
    [("leaves", "there is no database"), ("wants-root", "Operation not permitted")],
)
def test_an_image_that_ends_at_once_is_told_with_its_last_line(
    running: Running, built: dict[str, str], name: str, message: str
) -> None:
    """So does one that must be root to start: it gets to say so."""
    declare(running, "web", built[name], restart={"maxRestarts": 1})
    controller = running.controller()
    until(lambda: message in controller.condition("web", "Ready")[2], 40, "its last words")
    last = controller.status("web")["restarts"]
    assert (last["lastReason"], last["lastExitCode"]) == ("Error", 1)


def test_an_image_that_listens_late_is_waited_for(running: Running, built: dict[str, str]) -> None:
    controller = serving(running, built["good"], env=[{"name": "LATE", "value": "3"}])
    assert controller.request("GET", "/app/web").status == 200
    assert controller.status("web")["restarts"]["count"] == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("no-command", "must have an ENTRYPOINT or CMD"), ("leak", "its WORKDIR must lie outside /proc")],
)
def test_an_image_that_cannot_be_run_is_refused_and_nothing_is_made(
    running: Running, built: dict[str, str], name: str, message: str
) -> None:
    declare(running, "web", built[name])
    controller = running.controller()
    tells(controller, "Accepted", "NotSupported", message)
    assert running.engine.containers("web") == []


def test_an_image_that_is_nowhere_is_an_image_pull_and_no_crash(
    running: Running, built: dict[str, str]
) -> None:
    """Tried again by its own clock, without spending a restart; what served before serves on."""
    controller = serving(running, built["good"])
    declare(running, "web", "127.0.0.1:1/team/nowhere:1")
    tells(controller, "ImageVerified", "ImagePull", "127.0.0.1:1/team/nowhere:1 cannot be pulled")
    assert controller.request("GET", "/app/web").status == 200
    assert controller.status("web")["restarts"]["count"] == 0
    assert len(running.engine.containers("web", running=True)) == 1


def test_a_tag_that_moves_is_a_new_revision_and_no_request_is_lost(running: Running) -> None:
    """The id is pinned: the old image serves until the new one is ready."""
    name = images.build("moving", *images.RUN)
    try:
        controller = serving(running, name)
        before = controller.status("web")
        images.build(
            "moving", *images.RUN, server=images.SERVER.replace('VERSION = "one"', 'VERSION = "two"')
        )

        def moved() -> bool:
            answer = controller.request("GET", "/app/web")
            assert answer.status == 200
            return answer.json["version"] == "two"

        until(moved, 60, "the new image serving")
        controller.wait_ready("web")
        after = controller.status("web")
        assert after["image"] != before["image"]
        assert after["currentRevision"] != before["currentRevision"]
    finally:
        images.remove(name)


def test_an_adopted_image_serves_on_without_being_started_again(
    running: Running, built: dict[str, str]
) -> None:
    """A new controller finds port and namespace by the container's labels, and proves it anew."""
    controller = serving(running, built["good"])
    engine: Engine = running.engine
    (before,) = engine.containers("web")
    controller.kill()
    controller.start()
    controller.wait_ready("web")
    assert controller.request("GET", "/app/web").status == 200
    assert engine.containers("web") == [before]
