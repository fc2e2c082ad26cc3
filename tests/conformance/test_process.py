"""Child processes keep the promises of every runtime."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.support import Workshop
from xcore.runtimes.process import ProcessEngine
from xcore.runtimes.seams import Runtime
from xcore.runtimes.supervised import Supervised
from xcore.testing import RuntimeContract
from xcore.workload import Workload

# A probe that is under way when a test ends is cancelled, and its loop is gone before the socket is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class TestProcess(RuntimeContract):
    """Children die with their controller: nothing is adopted."""

    adopts = False

    @pytest.fixture(autouse=True)
    def _surroundings(self, open_dir: Path) -> None:
        self.directory, self.workshop = open_dir, Workshop(open_dir)

    async def make(self, owner: str = "first") -> Runtime:
        state = self.directory / owner
        state.mkdir(exist_ok=True)
        state.chmod(0o711)
        runtime = Supervised(ProcessEngine(state_dir=state))
        await runtime.open()
        return runtime

    def workload(self, source: str, *, name: str = "hello", generation: int = 1, **spec: Any) -> Workload:
        return self.workshop.workload(source, name=name, generation=generation, **spec)

    async def pause(self) -> None:
        await asyncio.sleep(0.05)
