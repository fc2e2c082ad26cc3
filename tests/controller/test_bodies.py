"""Large bodies through a whole controller: they stream, and stay nowhere on the way."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Controller
from tests.support import write_plugin

MIB = 2**20
SIZE = 64 * MIB
MOST = 16 * MIB
PIECE = bytes(range(256)) * 256
CODE = """
import hashlib

PIECE = bytes(range(256)) * 256

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    digest, more = hashlib.sha256(), True
    while more:
        message = await receive()
        digest.update(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(scope["query_string"] or 0) // len(PIECE)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": digest.hexdigest().encode()})
"""


@pytest.fixture
def controller() -> Iterator[Controller]:
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    actions = [{"name": "up", "maxBodyBytes": SIZE}]
    write_plugin(root / "plugins" / "bulk", CODE, entrypoint="main:app", actions=actions)
    made = Controller(root / "plugins", root / "state", {"XCORE_RUNTIME": "process", "XCORE_ON_EXIT": "stop"})
    try:
        made.start()
        made.wait_ready("bulk")
        yield made
    finally:
        made.stop()
        shutil.rmtree(root)


def test_64_mib_go_up_and_down_in_16_mib_of_memory(controller: Controller) -> None:
    """All of it arrives as it was; the controller's highest resident memory stays near what it was before."""
    pieces = SIZE // len(PIECE)
    whole = hashlib.sha256(PIECE * pieces).hexdigest()
    before = restarted(controller)
    answer = controller.request("POST", "/app/bulk/up", content=(PIECE for _ in range(pieces)))
    assert (answer.status, answer.content.decode()) == (200, whole)
    assert controller.memory("VmHWM") - before <= MOST
    before, got = restarted(controller), hashlib.sha256()
    with controller.client() as client, client.stream("GET", f"/app/bulk/down?{SIZE}") as stream:
        for piece in stream.iter_raw():
            got.update(piece)
    expected = hashlib.sha256(PIECE * pieces + hashlib.sha256().hexdigest().encode())
    assert got.hexdigest() == expected.hexdigest()
    assert controller.memory("VmHWM") - before <= MOST


def restarted(controller: Controller) -> int:
    """Set the mark of the highest resident memory back to what it is now (proc(5)); gives that in bytes."""
    assert controller.process is not None
    Path(f"/proc/{controller.process.pid}/clear_refs").write_text("5")
    return controller.memory()
