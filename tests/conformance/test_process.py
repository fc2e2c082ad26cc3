"""Child processes keep the promises of every runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.support import RealContract, Workshop
from xcore.runtimes.process import ProcessEngine
from xcore.runtimes.seams import Runtime
from xcore.runtimes.supervised import Supervised

# A probe that is under way when a test ends is cancelled, and its loop is gone before the socket is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class TestProcess(RealContract):
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
