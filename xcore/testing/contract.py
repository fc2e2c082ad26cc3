"""What every `Runtime` promises, as a suite: inherit it in a module of tests, and give it a runtime.

    class TestMine(RuntimeContract):
        async def make(self, owner="first"): ...        # an opened runtime over the one engine of this test
        def workload(self, source, *, name="hello", generation=1, **spec): ...

`source` is the text of a `main.py`. A test that needs what a runtime cannot do (surviving its controller) is told by an
attribute, not skipped; `limits` and `crash` may be given another way.
"""

from __future__ import annotations

import asyncio

from xcore.restart import EXHAUSTED
from xcore.runtimes.seams import Runtime
from xcore.testing.case import BETTER, BROKEN, GOOD, RuntimeCase
from xcore.workload import Exit


class RuntimeContract(RuntimeCase):
    """The suite."""

    async def test_what_is_applied_becomes_ready(self) -> None:
        async with self.running() as runtime:
            good = self.workload(GOOD)
            self.want(runtime, good)
            instance = await self.serving(runtime, good)
            assert instance.plugin == "hello"
            assert instance.revision == good.revision
            assert instance.endpoint is not None
            assert (await instance.endpoint.get("/ready", seconds=5, limit=1024))[0] == 200

    async def test_applying_the_same_again_changes_nothing(self) -> None:
        async with self.running() as runtime:
            good = self.workload(GOOD)
            self.want(runtime, good)
            before = await self.serving(runtime, good)
            for _ in range(5):
                self.want(runtime, good)
                await self.pause()
            assert (await self.serving(runtime, good)).id == before.id

    async def test_removing_leaves_nothing_and_may_be_said_twice(self) -> None:
        async with self.running() as runtime:
            good = self.workload(GOOD)
            self.want(runtime, good)
            await self.serving(runtime, good)
            await self.during(runtime.remove("hello"))
            await self.during(runtime.remove("hello"))
            await self.until(lambda: runtime.observed("hello") is None, "hello is forgotten")
            assert list(await runtime.sweep()) == []

    async def test_what_is_removed_may_be_applied_again_at_once(self) -> None:
        async with self.running() as runtime:
            good = self.workload(GOOD)
            self.want(runtime, good)
            before = await self.serving(runtime, good)
            removing = asyncio.ensure_future(runtime.remove("hello"))
            await asyncio.sleep(0)
            self.want(runtime, good)
            await self.during(removing)
            again = self.workload(GOOD, generation=2)
            self.want(runtime, again)
            after = await self.serving(runtime, again)
            assert after.revision == before.revision

    async def test_a_restart_replaces_the_instance_with_never_none_ready(self) -> None:
        async with self.running() as runtime:
            self.want(runtime, good := self.workload(GOOD))
            before = await self.serving(runtime, good)
            runtime.restart("hello", again := self.workload(GOOD, generation=2))
            gaps = []

            def replaced() -> bool:
                now = self.seen(runtime)
                gaps.append(now.serving is None)
                return now.settled and now.serving is not None and now.serving.id != before.id

            await self.until(replaced, "another instance serves")
            assert not any(gaps)
            assert (await self.serving(runtime, again)).id != before.id

    async def test_what_is_suspended_stops_and_runs_again_when_resumed(self) -> None:
        async with self.running() as runtime:
            self.want(runtime, good := self.workload(GOOD))
            before = await self.serving(runtime, good)
            self.want(runtime, good, suspended=True)
            await self.until(lambda: not self._any(runtime), "nothing runs")
            self.want(runtime, good)
            assert (await self.serving(runtime, good)).id != before.id
            assert self.seen(runtime).restarts.count == 0

    async def test_what_crashes_comes_back_and_is_counted_with_its_reason(self) -> None:
        ends: list[Exit] = []
        async with self.running() as runtime:
            runtime.attach(drain=_no_drain, exited=lambda _, ended: ends.append(ended))
            self.want(runtime, good := self.workload(GOOD))
            before = await self.serving(runtime, good)
            await self.crash(before)
            await self.until(lambda: self.seen(runtime).restarts.count == 1, "the restart is counted")
            assert (await self.serving(runtime, good)).id != before.id
            last = self.seen(runtime).restarts.last
            assert last is not None
            assert (last.reason.value, last.code, last.served) == ("Error", 3, True)
            assert [(ended.reason.value, ended.code) for ended in ends] == [("Error", 3)]

    async def test_a_spent_budget_holds_until_it_is_restarted(self) -> None:
        async with self.running() as runtime:
            self.want(runtime, good := self.workload(GOOD, restart={"maxRestarts": 1}))
            await self.crash(await self.serving(runtime, good))
            await self.until(lambda: self.seen(runtime).restarts.count == 1, "the restart is counted")
            await self.crash(await self.serving(runtime, good))
            await self.until(lambda: self.seen(runtime).restarts.held == EXHAUSTED, "the budget is spent")
            await self.until(lambda: not self.living(runtime), "nothing runs")
            assert self.seen(runtime).given_up
            again = self.workload(GOOD, generation=2, restart={"maxRestarts": 1})
            runtime.restart("hello", again)
            await self.serving(runtime, again)
            assert (self.seen(runtime).restarts.held, self.seen(runtime).restarts.count) == ("", 1)

    async def test_an_instance_finds_the_limits_it_was_given(self) -> None:
        async with self.running() as runtime:
            resources = {"cpu": "250m", "memory": "96Mi", "tmp": "4Mi"}
            self.want(runtime, good := self.workload(GOOD, resources=resources))
            found = await self.limits(await self.serving(runtime, good))
            assert found == {"cpu": 0.25, "memory": 96 * 2**20, "tmp": 4 * 2**20}

    async def test_a_new_revision_replaces_the_old_with_never_none_ready(self) -> None:
        async with self.running() as runtime:
            self.want(runtime, good := self.workload(GOOD))
            before = await self.serving(runtime, good)
            self.want(runtime, better := self.workload(BETTER, generation=2))
            gaps = []

            def replaced() -> bool:
                now = self.seen(runtime)
                gaps.append(now.serving is None)
                return now.settled

            await self.until(replaced, "the new revision serves")
            after = await self.serving(runtime, better)
            assert not any(gaps)
            assert after.revision == better.revision
            assert after.id != before.id

    async def test_a_broken_revision_leaves_the_old_one_serving_and_spends_nothing(self) -> None:
        async with self.running() as runtime:
            self.want(runtime, good := self.workload(GOOD))
            before = await self.serving(runtime, good)
            self.want(runtime, self.workload(BROKEN, generation=2))
            await self.until(lambda: self.seen(runtime).broken, "the new revision is given up")
            await self.until(lambda: len(self.seen(runtime).instances) == 1, "only the old one is left")
            now = self.seen(runtime)
            assert now.serving is not None
            assert now.serving.id == before.id
            assert not now.settled
            assert now.restarts.count == now.restarts.consecutive == 0

    async def test_after_a_broken_revision_a_good_one_is_taken(self) -> None:
        async with self.running() as runtime:
            self.want(runtime, good := self.workload(GOOD))
            await self.serving(runtime, good)
            self.want(runtime, self.workload(BROKEN, generation=2))
            await self.until(lambda: self.seen(runtime).broken, "the new revision is given up")
            self.want(runtime, better := self.workload(BETTER, generation=3))
            assert (await self.serving(runtime, better)).revision == better.revision
            assert not self.seen(runtime).broken

    async def test_the_next_runtime_takes_up_what_the_last_one_left(self) -> None:
        first = await self.make()
        self.want(first, good := self.workload(GOOD))
        before = await self.serving(first, good)
        await first.aclose()
        async with self.running() as second:
            self.want(second, good, fallback=good)
            after = await self.serving(second, good)
            assert (after.id == before.id) is self.adopts

    async def test_sweeping_removes_what_nobody_wants_and_nothing_of_others(self) -> None:
        first = await self.make()
        self.want(first, kept := self.workload(GOOD))
        self.want(first, lost := self.workload(GOOD, name="lost"))
        await self.serving(first, kept)
        orphan = await self.serving(first, lost)
        await first.aclose()
        async with self.running("another") as other, self.running() as second:
            self.want(other, foreign := self.workload(GOOD, name="foreign"))
            theirs = await self.serving(other, foreign)
            self.want(second, kept, fallback=kept)
            await self.serving(second, kept)
            assert list(await second.sweep()) == ([orphan.id] if self.adopts else [])
            assert list(await second.sweep()) == []
            assert (await self.serving(other, foreign)).id == theirs.id

    async def test_what_a_plugin_writes_is_in_its_logs(self) -> None:
        async with self.running() as runtime:
            self.want(runtime, good := self.workload(GOOD))
            await self.serving(runtime, good)
            lines = [line.text async for line in runtime.logs("hello", lines=50, follow=False)]
            assert any("hello from the plugin" in line for line in lines)

    async def test_stopping_all_leaves_nothing(self) -> None:
        runtime = await self.make()
        for name in ("one", "two", "three"):
            self.want(runtime, self.workload(GOOD, name=name))
        for name in ("one", "two", "three"):
            await self.serving(runtime, self.workload(GOOD, name=name))
        await self.during(runtime.stop_all())
        await runtime.aclose()
        async with self.running() as second:
            assert list(await second.sweep()) == []

    @staticmethod
    def _any(runtime: Runtime) -> bool:
        now = runtime.observed("hello")
        return now is None or bool(now.instances or now.leaving)


async def _no_drain(plugin: str, instance: str, seconds: float) -> None:
    """Nobody routes to these instances."""
