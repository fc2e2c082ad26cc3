"""The kernel in a program of one's own, on real child processes."""

import pytest

from tests.support import HELLO, write_plugin
from xcore.embedded import Embedded
from xcore.errors import PluginNotFound, UpstreamUnreachable
from xcore.plugin import CallFailed
from xcore.runtimes.process import ProcessEngine

FAILING = f"""{HELLO}
    @action
    async def fail(self) -> None:
        raise ValueError("inside")
"""


@pytest.fixture
def plugins(open_dir):
    (open_dir / "plugins").mkdir()
    return open_dir / "plugins"


@pytest.fixture
async def engine(open_dir):
    return ProcessEngine(state_dir=open_dir / "state")


async def test_a_plugin_is_called_as_soon_as_it_serves(plugins, engine, open_dir):
    """Nothing has to be waited for by hand; at the end nothing runs."""
    write_plugin(plugins / "hello", FAILING)
    async with Embedded(plugins, engine, state=open_dir / "state") as xcore:
        assert await xcore.call("hello", "greet", name="Ada", returns=str) == "Hello Ada"
        with pytest.raises(CallFailed, match="500 ActionFailed") as failed:
            await xcore.call("hello", "fail")
        assert "inside" not in failed.value.detail
        with pytest.raises(CallFailed, match="422 InvalidArguments"):
            await xcore.call("hello", "greet", name=3)
        with pytest.raises(PluginNotFound):
            await xcore.call("nobody", "greet")
    assert await engine.list() == []


async def test_what_changed_in_the_folders_is_taken_over_when_it_is_asked_for(plugins, engine, open_dir):
    """New, changed, gone."""
    async with Embedded(plugins, engine, state=open_dir / "state") as xcore:
        write_plugin(plugins / "hello")
        await xcore.refresh()
        assert await xcore.call("hello", "greet") == "Hello world"
        write_plugin(plugins / "hello", HELLO.replace("Hello {name}", "Goodbye {name}"))
        await xcore.refresh()
        assert await xcore.call("hello", "greet") == "Goodbye world"
        (plugins / "hello" / "plugin.yaml").unlink()
        await xcore.refresh()
        with pytest.raises(PluginNotFound):
            await xcore.call("hello", "greet")


async def test_a_plugin_that_cannot_run_here_says_why(plugins, engine, open_dir):
    """What only a controller packs, and what does not start."""
    write_plugin(plugins / "packed", dependencies=["pillow"])
    write_plugin(plugins / "broken", "raise RuntimeError('no')")
    async with Embedded(plugins, engine, state=open_dir / "state", call_seconds=4) as xcore:
        with pytest.raises(CallFailed, match=r"503 NotSupported.*spec\.dependencies"):
            await xcore.call("packed", "greet")
        with pytest.raises(CallFailed, match="503") as failed:
            await xcore.call("broken", "greet")
        assert failed.value.reason in {"CrashLooping", "StartupFailed"}


async def test_an_answer_that_does_not_come_is_not_waited_for(plugins, engine, open_dir):
    """The time is for all of it."""
    code = f"""{HELLO}
    @action
    async def wait(self) -> None:
        import asyncio
        await asyncio.Event().wait()
"""
    write_plugin(plugins / "hello", code)
    async with Embedded(plugins, engine, state=open_dir / "state", call_seconds=5) as xcore:
        with pytest.raises(UpstreamUnreachable, match="no whole answer within 5 s"):
            await xcore.call("hello", "wait")


async def test_a_directory_that_is_not_there_is_as_good_as_empty(engine, open_dir):
    """Until it is there."""
    async with Embedded(open_dir / "none", engine, state=open_dir / "state") as xcore:
        assert xcore.manager.names() == []
