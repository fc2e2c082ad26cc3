"""Every route of the control plane, whichever there are: who shows no key is answered before anything else is done."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator

import pytest

from controller.api import health, metrics, openapi
from integrations.admin import audit, calls, doctor, events, keys, orders, plugins, tasks
from tests.harness import KEY, Controller

MIB = 1024 * 1024
_OURS = (plugins, orders, events, tasks, keys, audit, doctor, calls)
BEHIND_THE_KEY = tuple(module.router for module in _OURS)
ROUTERS = (*BEHIND_THE_KEY, health.router, metrics.router, openapi.router)


def doors(*routers) -> Iterator[tuple[str, str]]:
    for router in routers:
        for route in router.routes:
            for method in sorted(route.methods):
                yield method, route.path.replace("{name}", "hello")


def answered(controller: Controller, method: str, path: str) -> int:
    """The status that comes after the head alone, though the head says that a body will follow."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", controller.port), timeout=10) as raw:
        raw.sendall(head.encode())
        return int(raw.recv(100).split(b" ")[1])


@pytest.mark.parametrize(("method", "path"), list(doors(*ROUTERS)))
def test_nothing_is_read_of_a_body_before_the_key(running: Controller, method: str, path: str) -> None:
    """401 at once from each route below /api/v1; the public ones want no body at all."""
    status = answered(running, method, path)
    assert status == 401 if path.startswith("/api/v1") else status in {200, 503}


def test_no_route_is_missing_here(running: Controller) -> None:
    """Whatever the controller describes is among those that the tests above ask."""
    paths = running.request("GET", "/openapi.json").json["paths"]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    known = {(method, path.replace("hello", "{name}")) for method, path in doors(*ROUTERS)}
    assert served <= known
    assert all(path.startswith("/api/v1/") for _, path in doors(*BEHIND_THE_KEY))


def test_a_flood_without_a_key_fills_no_memory(running: Controller) -> None:
    """Of a body without an end, what fits the buffers of one connection is taken, and not a word more."""
    before = running.memory()
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as raw:
        head = "POST /api/v1/plugins/any/rollback HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        raw.sendall(head.encode())
        flooding = threading.Thread(target=flood, args=(raw,))
        flooding.start()
        assert raw.recv(100).split(b" ")[1] == b"401"
        flooding.join(20)
        assert running.memory() - before <= 16 * MIB
        raw.shutdown(socket.SHUT_RDWR)
        flooding.join()


def flood(raw: socket.socket) -> None:
    piece = b"100000\r\n" + bytes(MIB) + b"\r\n"
    try:
        for _ in range(100):
            raw.sendall(piece)
    except OSError:
        pass


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/api/v1/plugins", "/api/v1/none", "/x//y"],
)
def test_every_answer_says_that_its_type_is_meant(running: Controller, path: str) -> None:
    """Problems and refusals as well: a text is not taken for a page."""
    assert running.request("GET", path).headers["x-content-type-options"] == "nosniff"


def test_the_page_that_takes_a_key_is_in_no_frame_and_has_nothing_from_elsewhere(running: Controller) -> None:
    """Its scripts and styles are the controller's, and what is sent goes to the controller."""
    page = running.request("GET", "/docs")
    told = {
        words[0]: words[1:] for words in map(str.split, page.headers["content-security-policy"].split(";"))
    }
    assert told["frame-ancestors"] == told["default-src"] == told["base-uri"] == ["'none'"]
    assert told["script-src"] == told["connect-src"] == ["'self'"]
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.content.decode())
    assert all(asset.startswith("/") or asset == "data:," for asset in assets)
    for asset in (asset for asset in assets if asset.startswith("/docs/")):
        answer = running.request("GET", asset)
        kind = "text/css" if asset.endswith(".css") else "text/javascript"
        assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, kind)
    assert running.request("GET", "/docs/favicon.png").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/plugins/evil%2frevisions",
        "/api/v1/plugins/evil%2Frevisions",
        "/api/v1/plugins/..%5cevil",
        "/api/v1/plugins/%2e%2e/events",
        "/api/v1/plugins//events",
        "/api/v1/./plugins",
        "/api/v1/plugins/a%00",
        "/api/v1/plugins/a%zz",
    ],
)
def test_a_path_means_what_it_says_to_the_control_plane_too(running: Controller, path: str) -> None:
    """What decodes to a separator or a dot segment is refused before anything is looked up by it."""
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as raw:
        raw.sendall(head.encode())
        assert raw.recv(1000).split(b" ")[1] == b"400"
