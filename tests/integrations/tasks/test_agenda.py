"""What there is to do by the clock, and how it went: what metrics tell of it."""

from types import SimpleNamespace

import pytest

from integrations.tasks.agenda import Agenda, Share, Success
from integrations.tasks.rows import TaskRows
from integrations.tasks.task import Outcome, State, Task
from xcore.routes import RouteTable
from xcore.testing import FakeClock
from xcore.times import Every


async def nothing(_):
    return ""


def task(name):
    return Task(name, "Does it.", Every(60), 30.0, nothing)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def make(database, clock):
    """A controller's agenda with these tasks; `share` may be set."""

    def make(*names):
        manager = SimpleNamespace(routes=RouteTable(), synced=True)
        rows, said = TaskRows(database, "a", clock), SimpleNamespace(share=Share.ALL)
        agenda = Agenda(manager, None, rows, [task(name) for name in names], lambda: said.share)
        return agenda, said

    return make


async def run(agenda, clock, name, state=State.SUCCEEDED, *, seconds=5.0):
    """One run of it, noted as the scheduler does."""
    await clock.advance(61)
    claims = await agenda.claim({each for each in agenda.tasks() if each != name}, 1)
    ((job, claim),) = claims
    await clock.advance(seconds)
    outcome = Outcome(state, seconds=seconds)
    agenda.ended(job, outcome)
    await agenda.finish(job, claim, outcome)


async def test_the_last_success_of_a_task_is_known_also_after_a_restart(make, clock):
    """When it was and how long it took; a run that failed later changes nothing of it."""
    agenda, _ = make("one", "two")
    assert await agenda.prepare()
    assert agenda.successes == {}
    await run(agenda, clock, "one", seconds=5.0)
    at = clock.time()
    assert agenda.successes["one"].seconds == 5.0
    await run(agenda, clock, "one", State.FAILED)
    await run(agenda, clock, "two", State.FAILED)
    again, _ = make("one", "two")
    assert await again.prepare()
    assert again.successes == {"one": Success(at, 5.0)}


async def test_nothing_is_told_of_tasks_that_are_gone_or_run_elsewhere(make, clock):
    """Of two controllers the one that runs tasks tells, and tells all when it becomes the one."""
    agenda, said = make("one", "two")
    await agenda.prepare()
    await run(agenda, clock, "one")
    await run(agenda, clock, "two")
    later, _ = make("two")
    await later.prepare()
    assert set(later.successes) == {"two"}
    said.share = Share.NOTHING
    assert not await agenda.prepare()
    assert agenda.successes == {}
    said.share = Share.ALL
    await agenda.prepare()
    assert set(agenda.successes) == {"one", "two"}
