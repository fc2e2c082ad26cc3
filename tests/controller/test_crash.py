"""A controller killed at any step of an install, an update or a removal: afterwards the old or the new, never between."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import Controller, until
from tests.support import HELLO, document
from tests.xcore.archives import tar_gz

AT = "/api/v1/plugins"
CRASH = Path(__file__).parent / "crash"
MOST_STEPS = 60


class House:
    """One state directory; controllers live and die over it."""

    def __init__(self, runtime: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
        self.root.chmod(0o755)
        (self.root / "plugins").mkdir()
        self.armed = self.root / "armed"
        self.settings = {"XCORE_RUNTIME": runtime, "XCORE_ON_EXIT": "stop"}

    @contextlib.contextmanager
    def controller(self, *, dies_at: int = 0) -> Iterator[Controller]:
        self.armed.unlink(missing_ok=True)
        path = os.pathsep.join([str(CRASH), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        crash = {"PYTHONPATH": path, "CRASH_AT": str(dies_at), "CRASH_WHEN": str(self.armed)}
        made = Controller(self.root / "plugins", self.root / "state", {**self.settings, **crash})
        made.start()
        try:
            yield made
        finally:
            if made.process is not None and made.process.poll() is None:
                made.stop()

    def order(self, method: str, code: str, *, dies_at: int) -> bool:
        """Carry out an order in a controller that dies at a step; tells whether it did."""
        with self.controller(dies_at=dies_at) as controller:
            self.armed.touch()
            try:
                if method == "DELETE":
                    answer = controller.request("DELETE", f"{AT}/hello", params={"wait": "Gone"})
                else:
                    answer = controller.request(
                        "PUT", f"{AT}/hello", params={"wait": "Ready"}, files=form(code)
                    )
            except httpx.TransportError:
                assert controller.process is not None
                assert controller.process.wait(10) == -signal.SIGKILL
                return True
            assert answer.status in {200, 201}, answer.content
            return False

    def answer(self) -> Any:
        """What the next controller makes of what is there: the plugin's answer, or None."""
        with self.controller() as controller:
            if controller.request("GET", f"{AT}/hello").status == 404:
                return None
            controller.wait_ready("hello")
            return controller.call("hello", "greet", {"name": "Ada"}).json

    def leftovers(self) -> list[str]:
        """What lies below the state directory and no plugin of the shelf names, once a collection is due."""
        with self.controller():
            snapshots = self.root / "state" / "snapshots"
            wanted = {p.stem for p in (self.root / "state" / "store" / "shelf").glob("*.json")}
            named = {
                kept.get("digest")
                for name in wanted
                for kept in json.loads((self.root / f"state/store/shelf/{name}.json").read_text())[
                    "revisions"
                ]
            }

            def odd() -> list[str]:
                found = (
                    [path for path in snapshots.iterdir() if path.name not in named]
                    if snapshots.is_dir()
                    else []
                )
                for path in found:
                    os.utime(path, (0, 0))  # a minute old, as far as anybody can tell
                return [path.name for path in found]

            with contextlib.suppress(AssertionError):
                until(lambda: not odd(), 40, "the collection")
            return [*odd(), *(p.name for p in (self.root / "state" / "store").rglob(".*"))]


def form(code: str) -> dict[str, Any]:
    return {
        "manifest": ("plugin.json", json.dumps(document("hello")), "application/json"),
        "archive": ("code", tar_gz({"main.py": code.encode()})),
    }


@pytest.fixture
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    made = House(request.param)
    yield made
    shutil.rmtree(made.root)


NEW = HELLO.replace("Hello {name}", "Hi {name}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("house", "steps"),
    [("process", range(2, MOST_STEPS, 3)), pytest.param("docker", [5], marks=pytest.mark.docker)],
    indirect=["house"],
)
@pytest.mark.parametrize(
    ("method", "before", "after"),
    [("PUT", None, "Hello Ada"), ("PUT", "Hello Ada", "Hi Ada"), ("DELETE", "Hello Ada", None)],
    ids=["install", "update", "delete"],
)
def test_a_controller_killed_at_any_step_leaves_the_old_or_the_new(
    house: House, steps: range, method: str, before: str | None, after: str | None
) -> None:
    """Killed at every third change of the file system (each one was tried), until the order gets through; no file is left."""
    code = NEW if after == "Hi Ada" else HELLO
    died = 0
    for step in steps:
        if before is not None and house.answer() != before:
            assert not house.order("PUT", HELLO, dies_at=0)
        elif before is None and house.answer() is not None:
            assert not house.order("DELETE", "", dies_at=0)
        if not house.order(method, code, dies_at=step):
            assert house.answer() == after
            break
        died += 1
        assert house.answer() in (before, after)
    assert died
    assert house.leftovers() == []
