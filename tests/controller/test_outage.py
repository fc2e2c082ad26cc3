"""PostgreSQL away below a controller that serves: no call of a plugin fails, reads go on, writes are refused within a second."""

import json
import time

import pytest

from integrations.database.address import address
from integrations.database.upgrade import upgrade
from tests.harness import Controller, Load, until
from tests.integrations.postgresql import Server
from tests.support import HELLO, document
from tests.xcore.archives import tar_gz

AT = "/api/v1/plugins/hello"
SLACK = 1.0  # for a machine with other work to do


@pytest.fixture(scope="module")
def server():
    made = Server()
    made.start()
    yield made
    made.remove()


@pytest.fixture
async def controller(server, open_dir):
    name = f"outage_{time.monotonic_ns()}"
    server.sql(f"CREATE DATABASE {name}")
    await upgrade(address(server.url(name), open_dir))
    (open_dir / "plugins").mkdir()
    settings = {"XCORE_RUNTIME": "process", "XCORE_DATABASE_URL": server.url(name), "XCORE_ON_EXIT": "stop"}
    made = Controller(open_dir / "plugins", open_dir / "state", settings)
    made.start()
    yield made
    made.stop()


def put(controller, description, **headers):
    """Send the plugin; gives the answer and how long it took."""
    sent = {
        "manifest": ("m", json.dumps(document(description=description)), "application/json"),
        "archive": ("a", tar_gz({"main.py": HELLO.encode()})),
    }
    began = time.monotonic()
    answer = controller.request("PUT", AT, files=sent, headers=headers)
    return answer, time.monotonic() - began


def degraded(controller):
    ready = controller.request("GET", "/readyz")
    assert ready.status == 200
    return [name for name in ready.json["degraded"] if name.startswith("database")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["away", "hanging"])
@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.soak)])
def test_a_server_that_is_away_costs_no_call(controller, server, fault, seconds):
    """Under load: every call is answered, every write refused with 503 and its reason, and all is well soon after."""
    assert put(controller, "before")[0].status == 201
    controller.wait_ready("hello")
    load, refused, slowest = Load(controller, "hello", "greet", callers=2, pause=0.02), 0, 0.0
    with load.running():
        with getattr(server, fault)():
            until_then = time.monotonic() + seconds
            while time.monotonic() < until_then:
                answer, took = put(controller, f"number {refused}")
                assert (answer.status, answer.reason) == (503, "DatabaseUnavailable"), answer.json
                assert int(answer.headers["retry-after"]) >= 1
                refused, slowest = refused + 1, max(slowest, took)
                shown = controller.request("GET", AT)
                assert (shown.status, shown.json["spec"]["description"]) == (200, "before")
                assert int(shown.headers["age"]) >= 0
            assert degraded(controller) == ["database: the database does not answer"]
        back = time.monotonic()
        until(lambda: put(controller, "after")[0].status == 200, 10, "a write")
        back = time.monotonic() - back
    assert (load.wrong, load.retries) == ([], []), load.outcomes
    assert slowest < 1 + SLACK
    assert back < 5
    assert "age" not in controller.request("GET", AT).headers
    assert degraded(controller) == []
    print(
        f"{fault} for {seconds} s: {load.outcomes['200']} calls, 0 failed; {refused} writes refused, the slowest in {slowest:.2f} s; back after {back:.2f} s"
    )


def test_a_controller_that_starts_without_it_serves_what_ran_before(controller, server):
    """Folders and plugins that were sent serve; the rows join when it is back, within five seconds, and nothing was removed."""
    assert put(controller, "before")[0].status == 201
    controller.wait_ready("hello")
    controller.stop()
    with server.away():
        controller.start()
        assert degraded(controller)
        until(lambda: controller.call("hello", "greet").status == 200, 30, "an answer")
        assert put(controller, "new")[0].reason == "DatabaseUnavailable"
        assert controller.request("DELETE", AT).reason == "DatabaseUnavailable"
        assert controller.request("GET", f"{AT}/revisions").reason == "DatabaseUnavailable"
    until(lambda: controller.request("GET", f"{AT}/revisions").status == 200, 5, "the revisions")
    assert put(controller, "after")[0].status == 200
    assert [each["how"] for each in controller.request("GET", f"{AT}/revisions").json["items"]] == [
        "update",
        "create",
    ]
    assert controller.call("hello", "greet").status == 200
