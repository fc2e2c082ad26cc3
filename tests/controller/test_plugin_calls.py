"""Plugins that call plugins, through a whole controller: as child processes, and trusted."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.controller.callers import FRONT, GRANTED, LEFT, SHOP, STOCK, check, write, write_both
from tests.harness import Controller, until


@pytest.fixture
def root() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def run(root: Path, **settings: str) -> Controller:
    told = {"XCORE_RUNTIME": "process", "XCORE_GRANTED_CALLS": GRANTED, **settings}
    controller = Controller(root / "plugins", root / "state", told)
    controller.start()
    return controller


@pytest.mark.parametrize(
    ("shop", "stock"),
    [("Sandboxed", "Sandboxed"), ("Trusted", "Sandboxed"), ("Sandboxed", "Trusted"), ("Trusted", "Trusted")],
)
def test_a_plugin_calls_another_wherever_each_of_them_runs(root: Path, shop: str, stock: str) -> None:
    """Results, raw bodies, streams, the other's failures and ours, from actions, threads and tasks: all alike."""
    write_both(root / "plugins", shop=shop, stock=stock)
    controller = run(root, XCORE_TRUSTED="shop,stock")
    try:
        check(controller)
    finally:
        controller.stop()


def test_nothing_is_granted_by_default(root: Path) -> None:
    """The manifest asks, the operator decides; and the answer says what he would have to set."""
    write_both(root / "plugins")
    controller = run(root, XCORE_GRANTED_CALLS="")
    try:
        controller.wait_ready("shop")
        controller.wait_ready("stock")
        told = controller.call("shop", "told", {"plugin": "stock", "name": "take"}).json
        assert told == {"status": 403, "reason": "Forbidden", "answered": False}
        log = controller.log.read_text()
        assert log.count("shop wants to call stock; XCORE_GRANTED_CALLS has no shop:stock") == 1
    finally:
        controller.stop()


def test_a_plugin_without_calls_has_no_way_to_call(root: Path) -> None:
    """No socket, no variable, no directory; what it tries is refused with the field to set."""
    write(root / "plugins", "shop", SHOP, "Shop")
    controller = run(root)
    try:
        controller.wait_ready("shop")
        assert controller.call("shop", "surroundings").json["directory"] == ""
        told = controller.call("shop", "told", {"plugin": "stock", "name": "take"}).json
        assert told == {"status": 403, "reason": "Forbidden", "answered": False}
        assert not (root / "state" / "calls").exists()
    finally:
        controller.stop()


def test_what_it_calls_by_goes_with_the_instance(root: Path) -> None:
    """A restart makes a new directory and removes the old one; the end removes all."""
    write_both(root / "plugins")
    controller = run(root)
    try:
        controller.wait_ready("shop")
        before = controller.call("shop", "surroundings").json
        assert before["found"] == ["c.sock", "token"]
        if os.geteuid() == 0:
            assert before["uid"] != 0
            assert Path(before["directory"]).stat().st_uid == 0
        assert controller.request("POST", "/api/v1/plugins/shop/restart?wait=Ready").status < 300
        after = controller.call("shop", "surroundings").json
        assert after["directory"] != before["directory"]
        until(lambda: not Path(before["directory"]).exists())
    finally:
        controller.stop()
    assert list((root / "state" / "calls").iterdir()) == []


def test_a_web_application_calls_by_plain_http(root: Path) -> None:
    """With the socket, the token and the field it was sent: it needs nothing of ours."""
    write(root / "plugins", "front", FRONT, "app", calls=["stock"])
    write(root / "plugins", "stock", STOCK, "Stock")
    controller = run(root, XCORE_GRANTED_CALLS="front:stock")
    try:
        for name in ("front", "stock"):
            controller.wait_ready(name)
        answer = controller.request("GET", "/app/front/x", headers={"X-Request-ID": "of-the-outer"})
        head, _, body = answer.content.decode().partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 200 OK")
        assert "x-request-id: of-the-outer" in head
        assert json.loads(body) == {**LEFT, "caller": "front"}
    finally:
        controller.stop()


def test_requests_that_are_finished_at_the_end_still_call(root: Path) -> None:
    """A controller told to end lets a request go on, and so the calls that it makes from then on."""
    write_both(root / "plugins")
    controller = run(root)
    for name in ("shop", "stock"):
        controller.wait_ready(name)
    with ThreadPoolExecutor(1) as threads:
        bought = threads.submit(controller.call, "shop", "buy_later", {"sku": "apple"})
        until(
            lambda: (
                'xcore_requests_active{plugin="shop"} 1'
                in controller.request("GET", "/metrics").content.decode()
            )
        )
        assert controller.stop() == 0
        assert (bought.result().status, bought.result().json) == (200, LEFT)


@pytest.mark.parametrize("wrong", ["shop", "shop:Stock", "shop:stock:mail", json.dumps(["shop:"])])
def test_a_grant_that_is_none_is_refused_with_what_is_allowed(root: Path, wrong: str) -> None:
    """The controller does not start, and says which setting."""
    (root / "plugins").mkdir()
    told = {"XCORE_RUNTIME": "process", "XCORE_GRANTED_CALLS": wrong}
    controller = Controller(root / "plugins", root / "state", told)
    controller.start(ready=False)
    assert controller.process is not None
    assert controller.process.wait(20) != 0
    assert "XCORE_GRANTED_CALLS" in controller.log.read_text()
    assert "shop:stock" in controller.log.read_text()
