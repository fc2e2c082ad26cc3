"""The tutorial and the how-tos do what they say, block by block, as somebody who types them would see it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import KEY, Controller
from tests.walk import Prompt, Walk, blocks

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs/tutorial.md"
HOWTOS = sorted((ROOT / "docs/howto").glob("*.md"))
FIRST_CALL_SECONDS = 60


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def runtime(request) -> str:
    return request.param


@pytest.fixture
def home() -> Iterator[Path]:
    """Of a reader who has nothing yet; other users may pass through it, as sandboxes do."""
    made = Path(tempfile.mkdtemp(prefix="xcore-tour-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def environment(home: Path, **settings: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("XCORE_")},
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # What was downloaded once is not downloaded for every page.
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv")),
        **settings,
    }


@pytest.fixture
def newcomer(home, runtime) -> Iterator[Walk]:
    """Stands in a checkout; his controller has a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = environment(
        home,
        XCORE_RUNTIME=runtime,
        XCORE_STATE_DIR=str(home / "state"),
        XCORE_ON_EXIT="stop",
        XCORE_PORT=str(port),
        XCORE_URL=f"http://127.0.0.1:{port}",
        XCORE_ADMIN_KEY=KEY,
    )
    walk = Walk(Prompt(ROOT, settings), settings, home, {":8000": f":{port}", "xck_…": KEY})
    yield walk
    walk.close()


@pytest.mark.timeout(600)
def test_the_tutorial_works_as_printed(newcomer):
    """Every command of the tutorial succeeds and prints what the page says; the first call comes within a minute."""
    began = first_call = 0.0
    for block in blocks(TUTORIAL):
        if block.kind == "sh" and block.text.startswith("xcore new"):
            began = time.monotonic()
        newcomer.carry_out(block)
        if began and not first_call and "xcore call" in block.text:
            first_call = time.monotonic() - began
    print(f"{first_call:.1f} s from `xcore new` to the answer of the first call")
    assert 0 < first_call <= FIRST_CALL_SECONDS


@pytest.fixture
def reader(home, runtime) -> Iterator[Walk]:
    """Has a controller running where no plugin is yet, and stands in a checkout."""
    shutil.copytree(ROOT / "examples", home / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    settings = {"XCORE_RUNTIME": runtime, "XCORE_ON_EXIT": "stop", "XCORE_GRANTED_CALLS": "shop:stock"}
    controller = Controller(home / "plugins", home / "state", settings)
    controller.start()
    told = {"XCORE_URL": controller.url, "XCORE_KEY": KEY, "XCORE_STATE_DIR": str(home / "state")}
    known = environment(home, **told)
    walk = Walk(Prompt(home, known), known, home, {":8000": f":{controller.port}"})
    yield walk
    walk.close()
    controller.stop()


@pytest.mark.parametrize("page", HOWTOS, ids=lambda page: page.stem)
def test_a_how_to_works_as_printed(page, reader):
    """What a how-to shows is what its commands print, and its code is that of the examples."""
    typed = [reader.carry_out(block) for block in blocks(page)]
    assert typed
