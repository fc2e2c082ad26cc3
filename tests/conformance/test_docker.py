"""Containers keep the promises of every runtime, on a real engine."""

from __future__ import annotations

import asyncio
import gc
import importlib.resources
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox_image.tag import image_tag
from tests.conformance.support import RealContract, Workshop
from xcore.runtimes.docker import DockerEngine
from xcore.runtimes.seams import Runtime
from xcore.runtimes.supervised import Supervised

pytestmark = [
    pytest.mark.docker,
    # Docker's client leaves the connection of a stream of events to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class TestDocker(RealContract):
    """An owner is a label, another one in every test."""

    @pytest.fixture(autouse=True)
    def _surroundings(self, open_dir: Path) -> Iterator[None]:
        self.directory, self.workshop = open_dir, Workshop(open_dir)
        yield
        asyncio.run(self._remove_all())
        gc.collect()  # here it is expected; in another test it would be that one's failure

    async def _remove_all(self) -> None:
        for owner in ("first", "another"):
            runtime = await self.make(owner)
            await runtime.sweep()
            await runtime.aclose()

    async def make(self, owner: str = "first") -> Runtime:
        state = self.directory / owner
        state.mkdir(exist_ok=True)
        state.chmod(0o711)
        engine = DockerEngine(
            owner=f"{self.directory.name}-{owner}",
            image=image_tag(),
            seccomp=importlib.resources.files("sandbox_image").joinpath("seccomp.json").read_text("utf-8"),
            state_dir=state,
        )
        runtime = Supervised(engine)
        await runtime.open()
        return runtime
