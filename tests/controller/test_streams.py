"""Streams through a whole controller: what fails midway is told, silence and length have ends, who leaves is missed."""

from __future__ import annotations

import json
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness import Controller, until

CODE = """
    import asyncio
    from collections.abc import AsyncIterator
    from xcore.plugin import Plugin, action

    class Streams(Plugin):
        @action(safe=True)
        async def fails(self) -> AsyncIterator[int]:
            yield 1
            raise LookupError("midway")

        async def _follow(self, name: str, pause: float) -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
                    await asyncio.sleep(pause)
            finally:
                self.context.logger.info("closed %s", name)

        @action(safe=True)
        async def left(self) -> AsyncIterator[int]:
            async for item in self._follow("left", 3600):
                yield item

        @action(safe=True)
        async def silent(self) -> AsyncIterator[int]:
            async for item in self._follow("silent", 3600):
                yield item

        @action(safe=True)
        async def endless(self) -> AsyncIterator[int]:
            async for item in self._follow("endless", 0.05):
                yield item
"""


@pytest.fixture(params=["Sandboxed", "Trusted"])
def controller(request: pytest.FixtureRequest) -> Iterator[Controller]:
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    folder = root / "plugins" / "streams"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(textwrap.dedent(CODE))
    actions = [
        {"name": "silent", "timeouts": {"idleSeconds": 0.3}},
        {"name": "endless", "timeouts": {"idleSeconds": 1, "maxDurationSeconds": 0.5}},
    ]
    spec = {"entrypoint": "main:Streams", "isolation": request.param, "actions": actions}
    meta = {"apiVersion": "xcore.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": "streams"}}
    (folder / "plugin.yaml").write_text(json.dumps({**meta, "spec": spec}))
    settings = {"XCORE_RUNTIME": "process", "XCORE_ON_EXIT": "stop", "XCORE_TRUSTED": "streams"}
    made = Controller(root / "plugins", root / "state", settings)
    try:
        made.start()
        made.wait_ready("streams")
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop()
        shutil.rmtree(root)


def lines(controller: Controller, name: str) -> tuple[list[str], bool]:
    """All lines of an answer, and whether it was cut."""
    heard: list[str] = []
    with controller.client() as client, client.stream("GET", f"/app/streams/{name}") as answer:
        try:
            heard.extend(answer.iter_lines())
        except httpx.RemoteProtocolError:
            return heard, True
    return heard, False


def closed(controller: Controller, name: str) -> None:
    def logged() -> bool:
        logs = controller.request("GET", "/api/v1/plugins/streams/logs").content
        return f"closed {name}".encode() in logs

    until(logged, 5, f"{name} being closed")


def test_streams_end_as_they_should(controller: Controller) -> None:
    """A failure is the last line; idleSeconds, maxDurationSeconds and a client that leaves close the generator."""
    with controller.client() as client, client.stream("GET", "/app/streams/fails") as answer:
        heard: list[bytes] = []
        with pytest.raises(httpx.RemoteProtocolError):
            heard.extend(answer.iter_raw())
    told = [json.loads(line) for line in b"".join(heard).splitlines()]
    assert (told[0], told[1]["error"]["reason"]) == (1, "ActionFailed")
    assert lines(controller, "silent") == (["1"], True)
    closed(controller, "silent")
    heard_lines, cut = lines(controller, "endless")
    assert cut
    assert len(heard_lines) > 3
    closed(controller, "endless")
    with controller.client() as client, client.stream("GET", "/app/streams/left") as answer:
        assert next(answer.iter_lines()) == "1"
    closed(controller, "left")
