"""Two engines as one: who gets what, and what the absence of one may and may not hide."""

import asyncio

import pytest

from tests.support import manifest
from xcore.errors import Problem, RuntimeUnavailable
from xcore.runtimes.byisolation import ByIsolation
from xcore.runtimes.hints import Hints
from xcore.runtimes.inprocess import InProcessEngine
from xcore.runtimes.process import ProcessEngine
from xcore.runtimes.seams import Engine
from xcore.workload import Instance, LogLine, Workload

BREAK = "break"


class Recorder:
    """An engine that runs nothing, remembers everything, and can be away."""

    def __init__(self, name):
        self.label, self.calls, self.instances, self.away = name, [], [], False
        self.hints = Hints()

    def name(self, workload):
        return self.label

    def isolates(self, workload):
        return self.label, "", ""

    def image(self, workload):
        return f"image of {self.label}"

    def check(self, wanted):
        return [Problem("", self.label)]

    async def open(self):
        self._called("open")

    async def start(self, workload):
        self._called("start", workload.name)
        instance = Instance(f"{self.label}-{len(self.instances)}", workload.name, "r", 1, 0.0, None)
        self.instances.append(instance)
        return instance

    async def stop(self, instance, *, grace):
        self._called("stop", instance.id, grace)

    async def remove(self, instance):
        self._called("remove", instance.id)
        self.instances.remove(instance)

    async def list(self, plugin=None):
        self._called("list", plugin)
        return [i for i in self.instances if plugin is None or i.plugin == plugin]

    async def watch(self):
        async for name in self.hints.follow():
            if name == BREAK:
                raise RuntimeUnavailable("gone")
            yield name

    async def logs(self, instance, *, lines, follow):
        yield LogLine("", f"logs of {self.label}", instance.id)

    async def aclose(self):
        self._called("aclose")

    def _called(self, *call):
        self.calls.append(call)
        if self.away:
            raise RuntimeUnavailable(f"{self.label} is away")


@pytest.fixture
def sandboxed():
    return Recorder("sandboxed")


@pytest.fixture
def trusted():
    return Recorder("trusted")


@pytest.fixture
def engine(sandboxed, trusted):
    return ByIsolation(sandboxed, trusted)


def wanted(name, isolation, tmp="/nowhere"):
    return Workload(manifest(name, isolation=isolation), "r", 1, tmp)


async def test_a_workload_goes_where_its_isolation_says(engine, sandboxed, trusted):
    for isolation, mine, other in (("Trusted", trusted, sandboxed), ("Sandboxed", sandboxed, trusted)):
        workload = wanted(isolation.lower(), isolation)
        instance = await engine.start(workload)
        assert engine.name(workload) == mine.label
        assert engine.isolates(workload)[0] == mine.label
        assert engine.image(workload) == f"image of {mine.label}"
        assert [p.message for p in engine.check(workload.manifest)] == [mine.label]
        assert [line.text async for line in engine.logs(instance, lines=1, follow=False)] == [
            f"logs of {mine.label}"
        ]
        await engine.stop(instance, grace=3)
        await engine.remove(instance)
        assert ("stop", instance.id, 3) in mine.calls
        assert mine.instances == []
        assert ("start", workload.name) not in other.calls
    assert engine.name(None) == "sandboxed"


async def test_a_list_is_of_both(engine):
    await engine.start(wanted("a", "Trusted"))
    await engine.start(wanted("b", "Sandboxed"))
    assert {i.plugin for i in await engine.list()} == {"a", "b"}
    assert [i.plugin for i in await engine.list("b")] == ["b"]


async def test_a_trusted_plugin_is_known_while_the_sandboxed_engine_is_away(engine, sandboxed):
    sandboxed.away = True
    workload = wanted("a", "Trusted")
    engine.check(workload.manifest)
    assert await engine.list("a") == []
    instance = await engine.start(workload)
    assert await engine.list("a") == [instance]


async def test_a_sandboxed_plugin_is_never_gone_because_its_engine_is_away(engine, sandboxed):
    engine.check(manifest("never-seen"))
    await engine.start(wanted("running", "Sandboxed"))
    await engine.list("running")
    sandboxed.away = True
    for name in ("never-seen", "running", None):
        with pytest.raises(RuntimeUnavailable):
            await engine.list(name)
    # Somebody asked whether it could be trusted; that makes no sandbox go away.
    engine.check(manifest("running", isolation="Trusted"))
    with pytest.raises(RuntimeUnavailable):
        await engine.list("running")


async def test_a_sandbox_of_a_plugin_that_became_trusted_is_found_and_then_not_asked_for_again(
    engine, sandboxed
):
    old = await engine.start(wanted("a", "Sandboxed"))
    new = await engine.start(wanted("a", "Trusted"))
    assert await engine.list("a") == [new, old]
    await engine.remove(old)
    assert await engine.list("a") == [new]
    asked = sandboxed.calls.count(("list", "a"))
    assert await engine.list("a") == [new]
    assert sandboxed.calls.count(("list", "a")) == asked
    again = await engine.start(wanted("a", "Sandboxed"))
    assert again in await engine.list("a")


async def test_hints_of_both_are_heard_until_one_breaks(engine, sandboxed, trusted):
    heard = engine.watch()
    trusted.hints.give("a")
    assert await asyncio.wait_for(anext(heard), 5) == "a"
    sandboxed.hints.give("b")
    assert await asyncio.wait_for(anext(heard), 5) == "b"
    sandboxed.hints.give(BREAK)
    with pytest.raises(RuntimeUnavailable):
        await asyncio.wait_for(anext(heard), 5)
    trusted.hints.give("c")
    heard = engine.watch()
    assert await asyncio.wait_for(anext(heard), 5) == "c"
    await heard.aclose()


async def test_both_are_opened_and_closed_whatever_one_of_them_says(engine, sandboxed, trusted):
    sandboxed.away = True
    with pytest.raises(RuntimeUnavailable):
        await engine.open()
    assert trusted.calls == [("open",)]
    trusted.away = True
    with pytest.raises(RuntimeUnavailable):
        await engine.aclose()
    assert sandboxed.calls[-1] == ("aclose",)


def test_all_three_are_engines(tmp_path, engine):
    engines: list[Engine] = [engine, InProcessEngine(), ProcessEngine(state_dir=tmp_path)]
    assert [e.name(None) for e in engines] == ["sandboxed", "inprocess", "process"]
