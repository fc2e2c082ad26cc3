"""Integrations in a real controller: a third party's package is installed, named, and listens; a bad one harms nobody."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import Controller, until

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "examples" / "hello"
WEBHOOK = ROOT / "examples" / "integrations" / "webhook"

BAD = '''
import asyncio
from contextlib import asynccontextmanager
from xcore.xhooks import StatusChanged


@asynccontextmanager
async def raising(host):
    """Ends with the first event it hears."""
    async with asyncio.TaskGroup() as group:
        with host.subscribe() as events:
            group.create_task(fail(events))
            yield


async def fail(events):
    async for event in events:
        raise RuntimeError(f"cannot bear {event.kind}")


@asynccontextmanager
async def deaf(host):
    """Subscribes, and never reads."""
    with host.subscribe(size=1):
        yield


@asynccontextmanager
async def leaking(host):
    """Takes what listeners there may be, and a queue of each."""
    taken = []
    try:
        while True:
            taken.append(host.subscribe(size=4096))
            taken[-1].__enter__()
    except Exception:
        yield


@asynccontextmanager
async def slow(host):
    """Thinks long about each event, and does not want to end."""
    async def think():
        with host.subscribe() as events:
            async for event in events:
                await asyncio.sleep(3600)

    host.spawn(think())
    yield


@asynccontextmanager
async def obstinate(host):
    """Never leaves by itself."""
    try:
        yield
    finally:
        await asyncio.sleep(3600)


@asynccontextmanager
async def broken(host):
    raise KeyError("password of the mail server")
    yield
'''


@pytest.fixture
def root() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    made.chmod(0o755)
    shutil.copytree(HELLO, made / "plugins" / "hello")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def controller(root: Path) -> Iterator[Controller]:
    made = Controller(root / "plugins", root / "state")
    made.settings = {
        "XCORE_RUNTIME": "process",
        "XCORE_ON_EXIT": "stop",
        "PYTHONPATH": str(root / "packages"),
    }
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


@pytest.fixture
def webhook(root: Path) -> None:
    """The example, installed as its guide has it, beside the controller instead of into it."""
    install = ["pip", "install", "--quiet", "--offline", "--no-deps", "--target", str(root / "packages")]
    subprocess.run([Path(sys.executable).with_name("uv"), *install, WEBHOOK], check=True, timeout=60)


@pytest.fixture
def bad(root: Path) -> None:
    folder = root / "packages"
    info = folder / "bad-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "bad.py").write_text(BAD)
    names = ("raising", "deaf", "leaking", "slow", "obstinate", "broken")
    points = "".join(f"{name} = bad:{name}\n" for name in names)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[xcore.integrations]\n{points}gone = bad:gone\n")


class Listener(HTTPServer):
    """Somebody's server that is told of changes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Told)
        self.told: list[dict[str, Any]] = []


class _Told(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def refused(controller: Controller, integrations: str) -> str:
    controller.settings["XCORE_INTEGRATIONS"] = integrations
    controller.start(ready=False)
    assert controller.process is not None
    assert controller.process.wait(60) == 1
    return controller.log.read_text().splitlines()[-1]


@pytest.mark.usefixtures("webhook")
def test_the_example_tells_a_url_what_becomes_of_a_plugin(controller: Controller, listener: Listener) -> None:
    """Installed, named, told its URL: it hears of every change, and answers a route of its own to who has the key."""
    url = f"http://127.0.0.1:{listener.server_port}/changes"
    controller.settings["XCORE_INTEGRATIONS"] = json.dumps({"webhook": {"url": url, "timeout_seconds": 60}})
    controller.start()
    controller.wait_ready("hello")
    until(lambda: any(told["status"] == "True" for told in listener.told), what="being told")
    assert controller.request("POST", "/api/v1/plugins/hello/suspend").status == 202
    until(lambda: listener.told[-1]["status"] == "False", what="being told of the suspension")
    assert {told["plugin"] for told in listener.told} == {"hello"}
    path = "/api/v1/integrations/webhook"
    until(lambda: controller.request("GET", path).json == {"sent": len(listener.told), "failed": 0})
    assert httpx.get(controller.url + path).status_code == 401
    assert path in controller.request("GET", "/openapi.json").json["paths"]
    assert controller.stop() == 0
    assert "integration webhook of xcore-webhook 1.0.0 runs" in controller.log.read_text()


def test_the_example_is_typed() -> None:
    """Under mypy's strict rules, against the controller's own types."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=/dev/null"]
    checked = subprocess.run(
        [*command, "xcore_webhook"],
        cwd=WEBHOOK,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.usefixtures("webhook", "bad")
def test_an_installed_package_that_nobody_named_is_not_even_imported(
    controller: Controller, root: Path
) -> None:
    (root / "packages" / "xcore_webhook" / "__init__.py").write_text("raise SystemExit('imported')")
    controller.start()
    assert controller.stop() == 0
    said = controller.log.read_text()
    assert "integration webhook is installed, and not run: XCORE_INTEGRATIONS does not name it" in said


@pytest.mark.usefixtures("webhook", "bad")
@pytest.mark.parametrize(
    ("integrations", "why"),
    [
        ("mail", "XCORE_INTEGRATIONS names mail, which is not installed; installed: broken, deaf"),
        ("gone", "integration gone of bad 1.0 does not begin: AttributeError"),
        ("broken", "integration broken of bad 1.0 does not begin: KeyError"),
        ('{"webhook": {"url": "not one"}}', "integration webhook of xcore-webhook 1.0.0 does not begin"),
    ],
)
def test_what_is_named_and_cannot_run_refuses_the_start(
    controller: Controller, integrations: str, why: str
) -> None:
    """The operator wanted it (an audit trail, say): to run on silently without it would be the worse surprise."""
    assert why in refused(controller, integrations)


@pytest.mark.usefixtures("webhook", "bad")
def test_a_name_that_two_packages_claim_is_refused(controller: Controller, root: Path) -> None:
    points = root / "packages" / "bad-1.0.dist-info" / "entry_points.txt"
    points.write_text("[xcore.integrations]\nwebhook = bad:deaf\n")
    assert "webhook, which bad and xcore-webhook both call theirs" in refused(controller, "webhook")


@pytest.mark.usefixtures("bad")
def test_listeners_that_raise_leak_or_never_read_delay_no_request(controller: Controller) -> None:
    """Requests are answered, /readyz and /metrics tell of the bad ones, and the end comes in its order and its time."""
    controller.settings["XCORE_INTEGRATIONS"] = "raising, deaf, slow, obstinate, leaking"
    controller.start()
    controller.wait_ready("hello")
    seconds = []
    with controller.client() as client:
        for _ in range(20):
            controller.request("POST", "/api/v1/plugins/hello/restart")
            for _ in range(10):
                began = time.monotonic()
                assert client.post("/app/hello/greet", json={"name": "Ada"}).json() == "Hello Ada"
                seconds.append(time.monotonic() - began)
    # The first of a new instance may wait for its start; none waits for a listener, of which some take an hour.
    assert statistics.median(seconds) < 1
    assert max(seconds) < 10
    assert httpx.get(f"{controller.url}/readyz").json() == {
        "status": "degraded",
        "degraded": ["background: integration raising has failed, the log says why"],
    }
    lost = httpx.get(f"{controller.url}/metrics").text
    count = next(
        line.split()[-1]
        for line in lost.splitlines()
        if line.startswith('xcore_events_lost_total{listener="deaf"}')
    )
    assert float(count) > 1
    began = time.monotonic()
    assert controller.stop() == 0
    assert time.monotonic() - began < 30
    text = controller.log.read_text()
    steps = [
        "asked to end",
        "told to end, within 10 s: .*integration slow",
        "cut short: .*integration slow",
        "background work has ended",
        "finishing requests",
        "requests are done",
        "integration obstinate of bad 1.0 does not end within 5 s, and is left",
    ]
    found = [re.search(step, text) for step in steps]
    assert all(found), dict(zip(steps, found, strict=True))
    assert sorted(found, key=re.Match.start) == found
    assert "RuntimeError: cannot bear ManagerStarting" in text
