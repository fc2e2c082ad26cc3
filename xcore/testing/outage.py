"""What every `Runtime` promises while its engine does not answer: unknown is never gone."""

from __future__ import annotations

from xcore.restart import Restarts
from xcore.testing.case import GOOD
from xcore.testing.contract import RuntimeContract
from xcore.workload import Phase


class OutageContract(RuntimeContract):
    """The same, for a runtime whose engine can be taken away and given back."""

    async def cut(self) -> None:
        raise NotImplementedError

    async def heal(self) -> None:
        raise NotImplementedError

    async def test_while_the_engine_is_away_nothing_is_lost_and_nothing_is_spent(self) -> None:
        async with self.running() as runtime:
            self.want(runtime, good := self.workload(GOOD))
            before = await self.serving(runtime, good)
            await self.cut()
            runtime.poke("hello")
            await self.until(lambda: self.seen(runtime).failure, "the outage is noticed")
            now = self.seen(runtime)
            assert [(i.id, i.phase) for i in now.instances] == [(before.id, Phase.Ready)]
            await self.heal()
            await self.until(lambda: self.seen(runtime).failure is None, "the engine is back")
            assert (await self.serving(runtime, good)).id == before.id
            assert self.seen(runtime).restarts == Restarts()

    async def test_what_is_wanted_while_the_engine_is_away_comes_when_it_is_back(self) -> None:
        async with self.running() as runtime:
            await self.cut()
            self.want(runtime, good := self.workload(GOOD))
            await self.until(lambda: self.seen(runtime).failure, "the outage is noticed")
            await self.heal()
            await self.serving(runtime, good)
            assert self.seen(runtime).restarts == Restarts()
