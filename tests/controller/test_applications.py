"""Applications of several frameworks, as their authors wrote them, through a whole controller: as a child process and trusted."""

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

from tests.harness import Controller

APPLICATIONS = Path(__file__).parents[1] / "applications"
NAMES = ("fastapi", "starlette", "litestar", "quart")
BIG = b"0123456789abcdef" * 2**16
COMMON: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/", {}),
    ("GET", "/old", {}),
    ("GET", "/items/3", {}),
    ("DELETE", "/items/3", {}),
    ("GET", "/nowhere", {}),
    ("POST", "/upload", {"files": {"file": ("a.bin", BIG, "application/octet-stream")}}),
    ("GET", "/download?size=1000000", {}),
]
FASTAPI = [
    ("GET", "", {}),
    ("GET", "/slashed", {}),
    ("GET", "/docs", {}),
    ("GET", "/exit", {}),
    ("GET", "/broken", {}),
]
VARYING = {"date", "x-request-id", "connection", "transfer-encoding"}


@pytest.fixture(scope="module")
def controllers() -> Iterator[dict[str, Controller]]:
    """One with all of them as child processes, one with all of them inside."""
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    made = {}
    for isolation in ("Sandboxed", "Trusted"):
        for name in NAMES:
            folder = root / isolation / "plugins" / name
            folder.mkdir(parents=True)
            shutil.copyfile(APPLICATIONS / f"{name}_app.py", folder / "main.py")
            spec = {"entrypoint": "main:app", "isolation": isolation, "resources": {"memory": "256Mi"}}
            meta = {"apiVersion": "xcore.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": name}}
            (folder / "plugin.yaml").write_text(json.dumps({**meta, "spec": spec}))
        settings = {"XCORE_RUNTIME": "process", "XCORE_ON_EXIT": "stop", "XCORE_TRUSTED": json.dumps(NAMES)}
        made[isolation] = Controller(root / isolation / "plugins", root / isolation / "state", settings)
    try:
        for controller in made.values():
            controller.start()
        yield made
    finally:
        for controller in made.values():
            if controller.process is not None and controller.process.poll() is None:
                controller.stop()
            if controller.log.exists():
                print(controller.log.read_text()[-3000:])
        shutil.rmtree(root)


def heard(controller: Controller, name: str, method: str, path: str, options: dict[str, Any]) -> Any:
    same = {"X-Request-ID": "the-same-one", "Host": "plugins.example"}
    answer = controller.request(method, f"/app/{name}{path}", headers=same, **options)
    kept = sorted((k, v) for k, v in answer.headers.multi_items() if k not in VARYING)
    return answer.status, kept, answer.content


@pytest.mark.parametrize("name", NAMES)
def test_an_application_answers_alike_in_both_isolations(
    controllers: dict[str, Controller], name: str
) -> None:
    """Routes, links, redirects, uploads and downloads, good requests and bad: the same bytes, behind the prefix."""
    for controller in controllers.values():
        controller.wait_ready(name)
    sandboxed, trusted = controllers["Sandboxed"], controllers["Trusted"]
    for request in (*COMMON, *(FASTAPI if name == "fastapi" else ())):
        assert heard(sandboxed, name, *request) == heard(trusted, name, *request), request
    index = json.loads(heard(sandboxed, name, *COMMON[0])[2])
    assert index["here"].endswith(f"/app/{name}/")
    assert index["item"].endswith(f"/app/{name}/items/3")
    assert index["client"] == "127.0.0.1"
    status, headers, _ = heard(sandboxed, name, *COMMON[1])
    assert status in {301, 302, 307}
    assert dict(headers)["location"].endswith(f"/app/{name}/")
    uploaded = json.loads(heard(sandboxed, name, *COMMON[5])[2])
    assert uploaded == {"size": len(BIG), "sha256": hashlib.sha256(BIG).hexdigest()}
    assert heard(sandboxed, name, *COMMON[6])[2] == b"x" * 1_000_000


@pytest.mark.parametrize("isolation", ["Sandboxed", "Trusted"])
def test_what_an_application_breaks_off_is_seen_by_its_client(
    controllers: dict[str, Controller], isolation: str
) -> None:
    """The controller lives on, whatever a trusted one raises, in a task of its own too."""
    controller = controllers[isolation]
    controller.wait_ready("fastapi")
    for path in ("half", "exit-midway"):
        with pytest.raises(httpx.RemoteProtocolError):
            controller.request("GET", f"/app/fastapi/{path}")
    assert controller.request("GET", "/app/fastapi/exit").json["reason"] == "ActionFailed"
    assert controller.request("GET", "/healthz").status == 200


def test_the_merged_document_shows_plugins_to_those_with_a_key(controllers: dict[str, Controller]) -> None:
    """Without one the control plane alone, with a wrong one nothing; the page itself needs none."""
    for controller in controllers.values():
        controller.wait_ready("fastapi")
        paths = controller.request("GET", "/openapi.json").json["paths"]
        assert {"/api/v1/plugins", "/app/fastapi/items/{number}"} <= set(paths)
        with httpx.Client(base_url=controller.url) as anyone:
            alone = anyone.get("/openapi.json").json()["paths"]
            assert "/api/v1/plugins" in alone
            assert not any(path.startswith("/app") for path in alone)
            wrong = anyone.get("/openapi.json", headers={"Authorization": "Bearer wrong"})
            assert (wrong.status_code, wrong.json()["reason"]) == (401, "Unauthenticated")
            assert "swagger-ui" in anyone.get("/docs").text
