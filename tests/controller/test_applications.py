"""Applications of several frameworks, as their authors wrote them, through a whole controller: in a container with what
their locks name, as a child process with the same, and trusted."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.docker.conftest import Engine
from tests.harness import KEY, Controller

APPLICATIONS = Path(__file__).parents[1] / "applications"
NAMES = ("fastapi", "starlette", "litestar", "quart")
SANDBOXED = ["process", pytest.param("docker", marks=pytest.mark.docker)]
ISOLATIONS = [*SANDBOXED, "inprocess"]
BIG = b"0123456789abcdef" * 2**16
COMMON: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/", {}),
    ("GET", "/old", {}),
    ("GET", "/items/3", {}),
    ("DELETE", "/items/3", {}),
    ("GET", "/nowhere", {}),
    ("POST", "/upload", {"files": {"file": ("a.bin", BIG, "application/octet-stream")}}),
    ("GET", "/download?size=1000000", {}),
    ("POST", "/visit", {}),
]
OWN: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "fastapi": [
        ("GET", "", {}),
        ("GET", "/slashed", {}),
        ("GET", "/items/three", {}),
        ("GET", "/docs", {}),
        ("GET", "/redoc", {}),
        ("GET", "/openapi.json", {}),
        ("GET", "/exit", {}),
        ("GET", "/broken", {}),
    ],
    "litestar": [("GET", "/schema", {}), ("GET", "/schema/openapi.json", {})],
}
VARYING = {"date", "x-request-id", "connection", "transfer-encoding"}


class Controllers:
    """One controller for each place to run them, started when it is first wanted."""

    def __init__(self, root: Path) -> None:
        self.root, self.made = root, dict[str, Controller]()

    def __getitem__(self, isolation: str) -> Controller:
        if isolation not in self.made:
            self.made[isolation] = self._start(isolation)
        return self.made[isolation]

    def _start(self, isolation: str) -> Controller:
        plugins = self.root / isolation / "plugins"
        for name in NAMES:
            shutil.copytree(APPLICATIONS / name, plugins / name)
            if isolation == "inprocess":
                manifest = plugins / name / "plugin.yaml"
                lines = [line for line in manifest.read_text().splitlines() if "dependencies:" not in line]
                manifest.write_text("\n".join([*lines, "  isolation: Trusted"]))
        runtime = "docker" if isolation == "docker" else "process"
        settings = {"XCORE_RUNTIME": runtime, "XCORE_ON_EXIT": "stop", "XCORE_TRUSTED": json.dumps(NAMES)}
        controller = Controller(plugins, self.root / isolation / "state", settings)
        controller.start()
        return controller

    def stop(self) -> None:
        for isolation, controller in self.made.items():
            if controller.process is not None and controller.process.poll() is None:
                controller.stop()
            print(controller.log.read_text()[-3000:])
            engine = Engine(controller.state)
            if isolation == "docker" and (left := engine.containers()):
                engine.run("rm", "-fv", *left)


@pytest.fixture(scope="module")
def controllers() -> Iterator[Controllers]:
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    made = Controllers(root)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(root)


def heard(controller: Controller, name: str, method: str, path: str, options: dict[str, Any]) -> Any:
    same = {"X-Request-ID": "the-same-one", "Host": "plugins.example"}
    answer = controller.request(method, f"/app/{name}{path}", headers=same, **options)
    kept = sorted((k, v) for k, v in answer.headers.multi_items() if k not in VARYING)
    return answer.status, kept, answer.content


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("isolation", SANDBOXED)
def test_an_application_answers_alike_in_a_sandbox_and_trusted(
    controllers: Controllers, isolation: str, name: str
) -> None:
    """Routes, links, redirects, cookies, uploads, downloads, its own pages, its refusals: the same bytes."""
    sandboxed, trusted = controllers[isolation], controllers["inprocess"]
    for controller in (sandboxed, trusted):
        controller.wait_ready(name, 90)
    for request in (*COMMON, *OWN.get(name, ())):
        assert heard(sandboxed, name, *request) == heard(trusted, name, *request), request
    assert sandboxed.status(name)["runtime"] == isolation
    assert trusted.status(name)["runtime"] == "inprocess"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_an_application_works_behind_its_prefix(controllers: Controllers, isolation: str, name: str) -> None:
    """Its links and redirects lead below it, its cookies stay there, and files go in and out whole."""
    controller, prefix = controllers[isolation], f"/app/{name}"
    controller.wait_ready(name, 90)
    with controller.client() as client:
        index = client.get(f"{prefix}/").json()
        assert index["here"] == f"{controller.url}{prefix}/"
        assert index["item"] == f"{controller.url}{prefix}/items/3"
        assert index["client"] == "127.0.0.1"
        assert client.get(index["item"]).json()["number"] == 3
        old = client.get(f"{prefix}/old")
        assert old.is_redirect
        assert client.get(f"{prefix}/old", follow_redirects=True).json() == index
        assert [client.post(f"{prefix}/visit").json()["visits"] for _ in range(3)] == [1, 2, 3]
        assert {(cookie.name, cookie.path) for cookie in client.cookies.jar} == {("visits", f"{prefix}/")}
        uploaded = client.post(f"{prefix}/upload", files={"file": ("a.bin", BIG)}).json()
        assert uploaded == {"size": len(BIG), "sha256": hashlib.sha256(BIG).hexdigest()}
        assert client.get(f"{prefix}/download?size=1000000").content == b"x" * 1_000_000


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_docs_of_fastapi_find_its_document_behind_the_prefix(
    controllers: Controllers, isolation: str
) -> None:
    """And what the document says can be called from there is answered."""
    controller, prefix = controllers[isolation], "/app/fastapi"
    controller.wait_ready("fastapi", 90)
    for page in ("docs", "redoc"):
        assert f"{prefix}/openapi.json" in controller.request("GET", f"{prefix}/{page}").content.decode()
    told = controller.request("GET", f"{prefix}/openapi.json").json
    assert told["servers"] == [{"url": prefix}]
    assert {"/items/{number}", "/upload", "/visit"} <= set(told["paths"])
    assert controller.request("GET", f"{prefix}/items/3").json["number"] == 3


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_websocket_of_an_application_works_through_the_controller(
    controllers: Controllers, isolation: str
) -> None:
    """Subprotocol, messages both ways, its close code and reason; its failure is 1011, an unknown path 403."""
    controller = controllers[isolation]
    controller.wait_ready("fastapi", 90)
    address = f"ws://127.0.0.1:{controller.port}/app/fastapi"
    key = {"Authorization": f"Bearer {KEY}"}
    for last, code, reason in (("bye", 4001, "as you wish"), ("fail", 1011, "the application failed")):
        with connect(f"{address}/echo", additional_headers=key, subprotocols=["one", "two"]) as client:
            assert client.subprotocol == "one"
            for message in ("hello", "", "ä" * 70_000):
                client.send(message)
                assert client.recv(10) == message
            client.send(last)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(10)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
    for path, headers, status in (("nowhere", key, 403), ("echo", {}, 401)):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"{address}/{path}", additional_headers=headers),
        ):
            pass
        assert refused.value.response.status_code == status


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_what_an_application_breaks_off_is_seen_by_its_client(
    controllers: Controllers, isolation: str
) -> None:
    """The controller lives on, whatever a trusted one raises, in a task of its own too."""
    controller = controllers[isolation]
    controller.wait_ready("fastapi", 90)
    for path in ("half", "exit-midway"):
        with pytest.raises(httpx.RemoteProtocolError):
            controller.request("GET", f"/app/fastapi/{path}")
    assert controller.request("GET", "/app/fastapi/exit").json["reason"] == "ActionFailed"
    assert controller.request("GET", "/healthz").status == 200


def test_the_merged_document_shows_plugins_to_those_with_a_key(controllers: Controllers) -> None:
    """Without one the control plane alone, with a wrong one nothing; the page itself needs none."""
    for isolation in ("process", "inprocess"):
        controller = controllers[isolation]
        controller.wait_ready("fastapi", 90)
        paths = controller.request("GET", "/openapi.json").json["paths"]
        assert {"/api/v1/plugins", "/app/fastapi/items/{number}"} <= set(paths)
        with httpx.Client(base_url=controller.url) as anyone:
            alone = anyone.get("/openapi.json").json()["paths"]
            assert "/api/v1/plugins" in alone
            assert not any(path.startswith("/app") for path in alone)
            wrong = anyone.get("/openapi.json", headers={"Authorization": "Bearer wrong"})
            assert (wrong.status_code, wrong.json()["reason"]) == (401, "Unauthenticated")
            assert "swagger-ui" in anyone.get("/docs").text
