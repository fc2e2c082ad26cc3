"""Plugins sent through the API, on a real engine, and a controller that is killed while it carries an order out."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any

import httpx
import pytest

from tests.docker import images
from tests.docker.conftest import Running
from tests.harness import Controller, until
from tests.support import HELLO, document
from tests.xcore.archives import tar_gz

pytestmark = pytest.mark.docker

AT = "/api/v1/plugins/hello"
HI = HELLO.replace("Hello {", "Hi {")


def form(code: str, **spec: Any) -> dict[str, Any]:
    return {
        "manifest": ("m", json.dumps(document(**spec)), "application/json"),
        "archive": ("a", tar_gz({"main.py": code.encode()})),
    }


def test_a_plugin_that_was_sent_runs_rolls_and_goes_with_its_sandbox(running: Running) -> None:
    controller = running.controller()
    assert controller.request("PUT", AT, params={"wait": "Ready"}, files=form(HELLO)).status == 201
    [first] = running.engine.containers("hello", running=True)
    assert controller.call("hello", "greet").json == "Hello world"
    assert controller.request("PUT", AT, params={"wait": "Ready"}, files=form(HI)).status == 200
    assert controller.call("hello", "greet").json == "Hi world"
    assert controller.request("DELETE", AT, params={"wait": "Gone"}).status == 200
    assert running.engine.containers("hello") == []
    assert first


def image(reference: str) -> dict[str, Any]:
    return document(entrypoint=None, source={"image": reference})


def test_an_image_that_was_sent_runs_and_one_that_is_nowhere_disturbs_it_not(running: Running) -> None:
    """The manifest is all that is sent; what lacks is told by reason and sentence; nothing is left when it is deleted."""
    reference = images.build("sent", *images.RUN)
    try:
        controller = running.controller()
        made = controller.request("POST", "/api/v1/plugins", params={"wait": "Ready"}, json=image(reference))
        assert (made.status, controller.call("hello", "echo", {"a": 1}).json["path"]) == (201, "/echo")
        nowhere = "127.0.0.1:1/team/nowhere:1"
        assert controller.request("PUT", AT, json=image(nowhere)).status == 200
        until(lambda: controller.condition("hello", "ImageVerified")[1] == "ImagePull", 40, "ImagePull")
        assert f"the image {nowhere} cannot be pulled: " in controller.condition("hello", "ImageVerified")[2]
        assert controller.call("hello", "echo").status == 200, "what served serves on"
        assert controller.request("DELETE", AT, params={"wait": "Gone"}).status == 200
        assert running.engine.containers() == []
    finally:
        images.remove(reference)
    again = controller.request("POST", "/api/v1/plugins", json=image(reference))
    assert again.status == 201
    until(lambda: controller.condition("hello", "ImageVerified")[1] == "ImagePull", 40, "ImagePull")
    assert controller.call("hello", "echo").reason == "PluginNotReady"
    assert controller.request("DELETE", AT, params={"wait": "Gone"}).status == 200
    kept = list((running.root / "state/store/plugins").iterdir())
    assert (running.engine.containers(), kept) == ([], [])


def interrupted(controller: Controller, after: float, method: str, **request: Any) -> None:
    """Send an order, kill the controller so many seconds later, start the next one."""

    def send() -> None:
        with contextlib.suppress(httpx.TransportError):
            controller.request(method, AT, **request)

    sending = threading.Thread(target=send)
    sending.start()
    sending.join(after)
    controller.kill()
    sending.join()
    controller.start()


DELAYS = (0.005, 0.02, 0.04, 0.1, 0.3)


@pytest.mark.timeout(300)
def test_killed_at_any_moment_of_an_order_it_is_the_old_or_the_new(running: Running) -> None:
    """One sandbox of what is wanted, or none; never another one, never two."""
    controller = running.controller()
    outcomes = []
    for delay in DELAYS:
        interrupted(controller, delay, "PUT", files=form(HELLO))
        installed = controller.request("GET", AT).status == 200
        assert one_or_none(running, controller) == ("Hello world" if installed else None)
        controller.request("PUT", AT, params={"wait": "Ready"}, files=form(HELLO))
        interrupted(controller, delay, "PUT", files=form(HI, description="new"))
        new = "description" in controller.resource("hello")["spec"]
        assert one_or_none(running, controller) == ("Hi world" if new else "Hello world")
        interrupted(controller, delay, "DELETE")
        gone = controller.request("GET", AT).status == 404
        assert (one_or_none(running, controller) is None) == gone
        outcomes.append((installed, new, gone))
        controller.request("DELETE", AT, params={"wait": "Gone"})
        until(lambda: running.engine.containers() == [])
    print(outcomes)
    assert list((running.root / "state" / "store" / "plugins").iterdir()) == []


def one_or_none(running: Running, controller: Controller) -> Any:
    if controller.request("GET", AT).status == 404:
        until(lambda: running.engine.containers("hello") == [])
        return None
    controller.wait_ready("hello")
    until(lambda: len(running.engine.containers("hello", running=True)) == 1)
    return controller.call("hello", "greet").json
