"""Integrations that block, in a real controller: with `time.sleep` or without end, wherever they do, they stop themselves alone."""

from __future__ import annotations

import re
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness import KEY, Controller, until

HELLO = Path(__file__).parents[2] / "examples" / "hello"
MANY = 200

BLOCKING = '''
import asyncio
import threading
import time
from contextlib import asynccontextmanager

from fastapi import Depends
from fastapi.responses import StreamingResponse
from xcore.errors import PluginNotFound


def spin():
    while True:
        pass


def hearing(do):
    """An integration that does this with the first event it hears."""
    @asynccontextmanager
    async def integration(host):
        async def listen():
            with host.subscribe() as events:
                async for event in events:
                    # In one piece: others say so at the same moment.
                    print(f"{host.name} heard {event.kind}\\n", end="", flush=True)
                    do()

        async with asyncio.TaskGroup() as group:
            group.create_task(listen())
            yield
    return integration


blocking = hearing(lambda: time.sleep(3600))
spinning = hearing(spin)
leaving = hearing(lambda: exit(3))


@asynccontextmanager
async def starting(host):
    time.sleep(3600)
    yield


@asynccontextmanager
async def pooling(host):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)
    yield


@asynccontextmanager
async def answering(host):
    """Its routes tell where they run, or block."""
    def of_a_dependency():
        return threading.current_thread().name

    async def block():
        time.sleep(3600)

    @host.router.post("/where/{name}")
    async def where(name: str, body: dict, there: str = Depends(of_a_dependency)):
        try:
            status = host.plugins.get(name)["metadata"]["name"]
        except PluginNotFound as error:
            status = error.reason
        return [threading.current_thread().name, host.plugins.names(), status, body]

    @host.router.get("/stream")
    async def stream():
        async def items():
            for _ in range(3):
                yield threading.current_thread().name + " "
        return StreamingResponse(items())

    @host.router.get("/fails")
    async def fails():
        raise ValueError("its own")

    @host.router.get("/thread")
    def thread():
        time.sleep(3600)

    @host.router.get("/loop", dependencies=[Depends(block)])
    async def loop():
        pass

    async def until_the_end():
        await host.stopping.wait()
        print("told to end on", threading.current_thread().name, flush=True)

    host.spawn(until_the_end())
    yield
'''


@pytest.fixture
def controller(open_dir: Path) -> Iterator[Controller]:
    shutil.copytree(HELLO, open_dir / "plugins" / "hello")
    info = open_dir / "packages" / "bad-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "bad.py").write_text(BLOCKING)
    names = ("blocking", "spinning", "leaving", "starting", "pooling", "answering")
    points = "".join(f"{name} = bad:{name}\n" for name in names)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[xcore.integrations]\n{points}")
    # What spins here takes the processor from itself first, and not from the other tests.
    made = Controller(open_dir / "plugins", open_dir / "state", prefix=("nice", "-n", "10"))
    made.settings = {
        "XCORE_RUNTIME": "process",
        "XCORE_ON_EXIT": "stop",
        "PYTHONPATH": str(info.parent),
    }
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


def start(controller: Controller, integrations: str) -> None:
    controller.settings["XCORE_INTEGRATIONS"] = integrations
    controller.start()
    controller.wait_ready("hello")


def seconds_of_requests(controller: Controller) -> list[float]:
    seconds = []
    with controller.client() as client:
        for _ in range(MANY):
            began = time.monotonic()
            assert client.post("/app/hello/greet", json={"name": "Ada"}).json() == "Hello Ada"
            seconds.append(time.monotonic() - began)
    return seconds


def stopped(controller: Controller) -> float:
    began = time.monotonic()
    assert controller.stop() == 0
    return time.monotonic() - began


@pytest.mark.timeout(180)
def test_listeners_that_block_or_spin_delay_no_request_and_the_end_comes_in_its_order_and_time(
    controller: Controller,
) -> None:
    """One sleeps for an hour, one takes the processor for ever, one would end the process; medians are those of without."""
    start(controller, "")
    alone = statistics.median(seconds_of_requests(controller))
    assert controller.stop() == 0
    start(controller, "blocking, spinning, leaving")
    for name in ("blocking", "spinning", "leaving"):
        until(lambda name=name: f"{name} heard" in controller.log.read_text(), what=f"{name} blocking")
    beside = seconds_of_requests(controller)
    print(f"median {alone * 1e3:.1f} ms alone, {statistics.median(beside) * 1e3:.1f} ms beside them")
    assert statistics.median(beside) < 10 * alone + 0.05
    assert max(beside) < 10
    degraded = [
        "background: integration blocking is blocked, the log says where",
        "background: integration leaving has failed, the log says why",
        "background: integration spinning is blocked, the log says where",
    ]
    until(lambda: httpx.get(f"{controller.url}/readyz").json()["degraded"] == degraded, what="being told")
    # Requests have nothing to be waited for: 5 s to end, 2 s to note it, for all of them together.
    assert stopped(controller) < 20
    text = controller.log.read_text()
    steps = [
        "requests are done",
        "integration spinning of bad 1.0 does not end within 5 s, and is left",
        "closed",
    ]
    found = [text.find(step, text.rfind("asked to end")) for step in steps]
    assert -1 not in found
    assert sorted(found) == found
    assert "integration blocking of bad 1.0 does not end within 5 s, and is left" in text
    assert re.search(
        r"integration spinning has been blocked for 10 s, in:\n(.*\n)+? .* in spin$", text, re.MULTILINE
    )


def test_one_that_blocks_before_it_begins_is_refused_by_name(controller: Controller) -> None:
    controller.settings["XCORE_INTEGRATIONS"] = "answering, starting"
    controller.start(ready=False)
    assert controller.process is not None
    assert controller.process.wait(30) == 1
    last = controller.log.read_text().splitlines()[-1]
    assert "integration starting of bad 1.0 does not begin: it has not after 10 s" in last


@pytest.mark.timeout(120)
def test_a_route_that_blocks_holds_up_its_own_caller_who_is_answered_in_time(controller: Controller) -> None:
    """A `def` in a thread of its integration's, a dependency of an `async def` on its loop: 504; strangers are refused at once."""
    start(controller, "answering")
    path, answers = "/api/v1/integrations/answering", {}

    def ask(route: str) -> None:
        answers[route] = controller.request("GET", f"{path}/{route}")

    asking = [threading.Thread(target=ask, args=(route,)) for route in ("thread", "loop")]
    for thread in asking:
        thread.start()
    assert statistics.median(seconds_of_requests(controller)) < 1
    for route in ("thread", "loop"):
        assert httpx.get(f"{controller.url}{path}/{route}", timeout=5).status_code == 401
    for thread in asking:
        thread.join()
    for route in ("thread", "loop"):
        assert (answers[route].status, answers[route].reason) == (504, "FirstByteTimeout")
        assert "integration answering did not answer within 10 s" in answers[route].json["detail"]
    assert stopped(controller) < 25


def test_a_pool_of_threads_that_blocks_does_not_hold_the_end(controller: Controller) -> None:
    """Python itself would wait for it for ever."""
    start(controller, "pooling")
    assert stopped(controller) < 20
    said = controller.log.read_text().splitlines()[-1]
    assert "an integration has left threads that do not end; the controller ends without them" in said


def test_routes_run_on_the_thread_of_their_integration_and_are_let_in_and_recorded_as_all_are(
    controller: Controller,
) -> None:
    start(controller, "answering")
    path = "/api/v1/integrations/answering"
    answer = controller.request("POST", f"{path}/where/hello", json={"a": 1})
    assert answer.json == ["integration answering", ["hello"], "hello", {"a": 1}]
    assert controller.request("POST", f"{path}/where/gone", json={}).json[2] == "PluginNotFound"
    refused = controller.request("POST", f"{path}/where/hello", json=[])
    assert (refused.status, refused.reason) == (422, "InvalidArguments")
    assert refused.headers["x-request-id"] == refused.json["requestId"]
    assert controller.request("GET", f"{path}/stream").content.split() == [b"integration", b"answering"] * 3
    assert controller.request("GET", f"{path}/fails").reason == "Internal"
    assert httpx.post(f"{controller.url}{path}/where/hello", json={}).status_code == 401
    items = controller.request("GET", "/api/v1/audit").json["items"]
    assert [item["status"] for item in items if "answering" in item["path"]] == [401, 422, 200, 200]
    described = controller.request("GET", "/openapi.json").json["paths"][f"{path}/where/{{name}}"]["post"]
    assert described["security"]
    assert stopped(controller) < 10
    text = controller.log.read_text()
    assert "ValueError: its own" in text
    assert re.search("told to end, within 10 s: .*integration answering", text)
    assert "told to end on integration answering" in text
    assert "cut short: " not in text
    assert KEY not in text
