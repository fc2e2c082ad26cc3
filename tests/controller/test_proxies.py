"""A whole controller behind a proxy: what goes by the address goes by the client's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import KEY, Controller

CLIENT = {"X-Forwarded-For": "203.0.113.9, 198.51.100.1", "X-Forwarded-Proto": "https"}
OTHER = {"X-Forwarded-For": "198.51.100.1, 198.51.100.2"}
ADMIN = {"Authorization": f"Bearer {KEY}"}
WRONG = {"Authorization": "Bearer wrong"}


@pytest.fixture
def controller(open_dir: Path) -> Iterator[Controller]:
    (open_dir / "plugins").mkdir()
    settings = {"XCORE_RUNTIME": "process", "XCORE_TRUSTED_PROXIES": "127.0.0.1"}
    made = Controller(open_dir / "plugins", open_dir / "state", settings)
    made.start()
    yield made
    made.stop()


def test_limit_and_audit_go_by_the_client_and_not_by_its_proxy(controller: Controller) -> None:
    """Wrong keys of one client are counted on both planes together; another behind the same proxy is not held up."""
    with controller.client() as client:
        planes = ("/app/hello/greet", "/api/v1/keys")
        told = [client.post(planes[n % 2], headers={**WRONG, **CLIENT}).status_code for n in range(12)]
        assert told == [401] * 10 + [429] * 2
        assert client.post("/api/v1/keys", headers={**WRONG, **OTHER}).status_code == 401
        assert client.post("/api/v1/plugins/no/restart", headers={**ADMIN, **CLIENT}).status_code == 404
        entries = client.get("/api/v1/audit", headers=ADMIN).json()["items"]
    assert [(entry["by"], entry["address"]) for entry in entries] == [
        ("admin", "198.51.100.1"),
        ("", "198.51.100.2"),
        *[("", "198.51.100.1")] * 6,
    ]


def test_a_redirect_of_the_control_plane_keeps_to_the_clients_scheme(controller: Controller) -> None:
    """Who came by TLS is not sent away from it."""
    for headers, scheme in ((CLIENT, "https"), (OTHER, "http")):
        answer = controller.request("GET", "/api/v1/plugins/", headers=headers)
        location = f"{scheme}://127.0.0.1:{controller.port}/api/v1/plugins"
        assert (answer.status, answer.headers["location"]) == (307, location)
