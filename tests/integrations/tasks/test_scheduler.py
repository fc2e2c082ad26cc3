"""Tasks run when they are due, one at a time, once across controllers, and every run is written down."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

import pytest

from integrations.tasks.calling import Told
from integrations.tasks.rows import KEPT_RUNS, TaskRows
from integrations.tasks.scheduler import Scheduler
from integrations.tasks.task import MAX_OUTPUT, RunFailed, Task, TaskNotFound
from integrations.tasks.turn import LEASE_SECONDS
from tests.support import until
from xcore.errors import Conflict, DatabaseUnavailable, StorageFull
from xcore.testing.clock import FakeClock
from xcore.times import Every


class Watched:
    """A database that tells whether it is at work: time stands still meanwhile."""

    def __init__(self, database):
        self._database, self.busy = database, 0

    @contextlib.asynccontextmanager
    async def reading(self):
        async with self._counted(self._database.reading()) as session:
            yield session

    @contextlib.asynccontextmanager
    async def writing(self):
        async with self._counted(self._database.writing()) as session:
            yield session

    @contextlib.asynccontextmanager
    async def _counted(self, transaction):
        self.busy += 1
        try:
            async with transaction as session:
                yield session
        finally:
            self.busy -= 1


class Controller:
    """One that runs tasks on a database, by a clock that only the test moves."""

    def __init__(self, database, clock, name="a"):
        self.clock, self.tasks, self.database = clock, {}, database
        self.rows = TaskRows(database, name, clock, dice=lambda: 0.5)
        self.scheduler = Scheduler(self, name="tasks", clock=clock)
        self.counts = Counter()
        self.stopping = asyncio.Event()
        self.life = None

    def add(self, do: Callable, name="work", **how):
        values = {"times": Every(60), "timeout": 30.0, **how}
        self.tasks[name] = Task(name, "Does the work.", do=do, **values)

    # -- as work ------------------------------------------------------------------------------------------------

    async def recover(self):
        return await self.rows.recover()

    async def prepare(self):
        await self.rows.settle(self.tasks)
        return True

    async def next_time(self, busy):
        return await self.rows.next_time(busy)

    async def claim(self, busy, most):
        return await self.rows.claim(self.tasks, busy, most)

    async def renew(self, claim):
        return await self.rows.renew(claim)

    async def finish(self, job, claim, outcome):
        await self.rows.finish(job, claim, outcome)

    def ended(self, job, outcome):
        self.counts[job.id, outcome.state] += 1

    # -- its life -----------------------------------------------------------------------------------------------

    def start(self):
        self.life = asyncio.create_task(self.scheduler.run(self.stopping))

    async def end(self):
        """As the background does it at last."""
        self.stopping.set()
        self.life.cancel()
        await asyncio.gather(self.life, return_exceptions=True)

    async def kill(self):
        """Nothing of it is written down any more, as after SIGKILL."""

        async def nothing(*_):
            await asyncio.Event().wait()

        self.rows.finish = self.rows.renew = nothing
        for task in (self.life, *self.scheduler._running.values()):
            task.cancel()
            task.cancel()
        await asyncio.sleep(0)

    async def passes(self, condition, *, step=1, what="it"):
        """Let time pass, and the database answer, until the condition holds."""

        async def moved():
            value = condition()
            value = await value if asyncio.iscoroutine(value) else value
            for _ in range(0 if value else step):
                if not self.database.busy:
                    await self.clock.advance(1)
            return value

        return await until(moved, seconds=20, what=what)

    async def runs(self, name="work"):
        return list(reversed(await self.rows.runs(name, before=None, limit=1000)))

    async def states(self, name="work"):
        return [run.state for run in await self.runs(name)]

    async def has(self, *states, name="work"):
        return await self.passes(lambda: self._is(list(states), name), what=f"runs {states}")

    async def _is(self, states, name):
        return (await self.states(name))[: len(states)] == states


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def make(database, clock):
    made, database = [], Watched(database)

    def make(name="a"):
        controller = Controller(database, clock, name)
        made.append(controller)
        return controller

    yield make
    for controller in made:
        if controller.life is not None and not controller.life.done():
            await controller.end()


def saying(text):
    async def do(run):
        return text

    return do


def raising(*errors):
    """Fails so often, then does well."""
    left = list(errors)

    async def do(run):
        if left:
            raise left.pop(0)
        return "well"

    return do


def waiting(begun=None):
    """Never ends by itself."""

    async def do(run):
        if begun is not None:
            begun.append(run)
        await asyncio.Event().wait()
        return ""

    return do


async def test_a_task_runs_at_each_of_its_times(make, clock):
    """Not at the start, then every minute; when it was due, how long it took and what it said are kept."""
    one, start = make(), clock.time()
    one.add(saying("42 rows"))
    one.start()
    await one.has("Succeeded", "Succeeded")
    runs = await one.runs()
    assert start + 60 <= runs[0].due < start + 65
    assert runs[1].due == runs[0].due + 60
    assert all(0 <= run.started - run.due < 5 and run.ended >= run.started for run in runs)
    assert runs[0].output == "42 rows"
    assert one.counts["work", "Succeeded"] >= 2


async def test_a_failure_is_told_and_tried_again_after_a_pause(make):
    one = make()
    one.add(raising(StorageFull("no room"), StorageFull("no room")), times=Every(3600), retries=2)
    one.start()
    await one.passes(lambda: one._is(["Failed", "Failed", "Succeeded"], "work"), step=20)
    first, second, third = await one.runs()
    assert (first.reason, first.detail) == ("StorageFull", "no room")
    assert [run.attempt for run in (first, second, third)] == [1, 2, 3]
    assert first.due == second.due == third.due
    assert second.started - first.ended >= 5
    assert third.started - second.ended >= 20


async def test_what_would_fail_again_is_not_tried_again(make):
    """An action that is not there is not there the second time, however many retries are allowed."""
    one = make()
    one.add(raising(RunFailed(Told(404, "ActionNotFound"))), retries=5)
    one.start()
    await one.has("Failed", "Succeeded")
    first, second = (await one.runs())[:2]
    assert second.due == first.due + 60


async def test_an_error_of_ours_is_a_failed_run_and_ends_nothing_else(make, caplog):
    one = make()
    one.add(raising(ZeroDivisionError("secret detail")))
    one.start()
    await one.has("Failed", "Succeeded")
    (failed, *_) = await one.runs()
    assert (failed.reason, failed.detail) == ("Internal", "an error of the controller; it is in its log")
    assert "secret detail" in caplog.text


async def test_a_run_whose_end_cannot_be_noted_holds_up_nobody(make, monkeypatch, caplog):
    """An error of ours there is logged and frees its place; when the lease is over the run is interrupted, and made again."""
    monkeypatch.setattr("integrations.tasks.scheduler.MAX_RUNNING", 1)
    one = make()
    one.add(saying("well"), "ill")
    finish, failing = one.rows.finish, [1]

    async def finished(task, claim, outcome):
        if task.id == "ill" and failing:
            failing.pop()
            raise UnicodeEncodeError("utf-8", "x", 0, 1, "of ours")
        await finish(task, claim, outcome)

    one.rows.finish = finished
    one.start()
    await one.has("Running", name="ill")
    one.add(saying("well"), "other", times=Every(10))
    await one.has("Interrupted", "Succeeded", name="ill")
    await one.has("Succeeded", name="other")
    lost, run = (await one.runs("ill"))[:2]
    assert (lost.due, run.started >= lost.started + LEASE_SECONDS) == (run.due, True)
    assert "how ill ended was not written down" in caplog.text


async def test_a_task_that_never_ends_is_ended(make):
    """At its timeout it is cancelled and says so; its next time comes as if nothing had been."""
    one = make()
    one.add(waiting(), timeout=30)
    one.start()
    await one.has("Failed", "Running")
    (failed, *_) = await one.runs()
    assert (failed.reason, failed.detail) == ("DurationExceeded", "it took over 30 s")
    assert failed.ended - failed.started < 30 + 5


async def test_a_task_that_ignores_its_end_holds_up_nobody_but_itself(make, caplog):
    """It is given up, not begun a second time while it goes on, and others run on."""
    one, let_go, begun = make(), asyncio.Event(), []

    async def stubborn(run):
        begun.append(run)
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return ""

    one.add(stubborn, "stubborn", timeout=5)
    one.add(saying("fine"), "other")
    one.start()
    await one.passes(lambda: "goes on although it was cancelled" in caplog.text, step=3)
    before = len(await one.runs("other"))
    await one.passes(lambda: one._is(["Succeeded"] * (before + 2), "other"), step=5)
    assert len(begun) == 1
    assert await one.states("stubborn") == ["Failed"]
    let_go.set()
    await one.passes(lambda: len(begun) > 1, step=5)


async def test_output_without_end_is_cut(make):
    one = make()
    one.add(saying("x\x00" * 100_000))
    one.start()
    await one.has("Succeeded")
    (run, *_) = await one.runs()
    assert len(run.output) == MAX_OUTPUT
    assert run.output.endswith("x…")


async def test_what_no_database_keeps_as_text_is_replaced(make):
    """Halves of surrogate pairs and NUL, in what an action says and in what it fails by: the run ends all the same."""
    one = make()
    problem = Told(422, "", "application/problem+json", rb'{"detail": "\ud800 \u0000 no"}')
    one.add(saying("\udfff\x00 well"), "well")
    one.add(raising(RunFailed(problem)), "ill")
    one.start()
    await one.has("Succeeded", name="well")
    await one.has("Failed", name="ill")
    assert (await one.runs("well"))[0].output == "?\ufffd well"
    assert (await one.runs("ill"))[0].detail == "? \ufffd no"


async def test_one_of_two_controllers_runs_it(make, clock):
    """Whichever claims it first; each time is run once."""
    ran, two = [], [make("a"), make("b")]
    for controller in two:

        async def do(run, name=controller.rows._holder):
            ran.append(name)
            return name

        for number in range(8):
            controller.add(do, f"t{number}")
        controller.start()
    for number in range(8):
        await two[0].has("Succeeded", "Succeeded", "Succeeded", name=f"t{number}")
    for number in range(8):
        dues = [run.due for run in await two[0].runs(f"t{number}")]
        assert len(dues) == len(set(dues))


async def test_a_run_takes_as_long_as_it_takes(make):
    """Its lease is renewed: nobody else begins it, and the times it covers are not made up for one by one."""
    one, two, begun = make("a"), make("b"), []
    for controller in (one, two):
        controller.add(waiting(begun), timeout=10 * LEASE_SECONDS)
        controller.start()
    await one.passes(lambda: begun)
    since = one.clock.time()
    await one.passes(lambda: one.clock.time() > since + 5 * LEASE_SECONDS, step=2)
    assert len(begun) == 1
    assert await one.states() == ["Running"]


async def test_what_a_killed_controller_ran_is_interrupted_and_run_again(make):
    """Its next start writes it down and makes up for it, without a retry being allowed for."""
    one = make("a")
    one.add(waiting())
    one.start()
    await one.has("Running")
    await one.kill()
    again = make("a")
    again.add(saying("well"))
    again.start()
    await again.has("Interrupted", "Succeeded")
    lost, run = (await again.runs())[:2]
    assert (lost.due, lost.attempt) == (run.due, 1)
    assert run.attempt == 2


async def test_a_database_that_is_away_at_the_start_loses_no_interrupted_run(make, caplog):
    """What this controller ran when it was killed is ended as soon as the database answers, and before anything is begun."""
    one = make("a")
    one.add(waiting())
    one.start()
    await one.has("Running")
    await one.kill()
    again, tries = make("a"), []
    again.add(saying("well"))
    recover = again.rows.recover

    async def away():
        tries.append(1)
        if len(tries) < 3:
            raise DatabaseUnavailable("the database does not answer")
        return await recover()

    again.rows.recover = away
    again.start()
    await again.has("Interrupted", "Succeeded")
    assert caplog.text.count("tasks wait: the database does not answer") == 1
    lost, run = (await again.runs())[:2]
    assert run.started - lost.started < LEASE_SECONDS


async def test_what_another_controller_leaves_behind_is_made_up_for(make):
    """When its lease is over, and not before."""
    one, two = make("a"), make("b")
    one.add(waiting())
    one.start()
    await one.has("Running")
    await one.kill()
    two.add(saying("well"))
    two.start()
    await two.has("Interrupted", "Succeeded")
    lost, run = (await two.runs())[:2]
    assert run.started >= lost.started + LEASE_SECONDS
    assert run.due == lost.due


async def test_a_task_that_runs_is_told_of_the_end_and_finishes(make):
    one = make()

    async def tidy(run):
        await run.stopping.wait()
        return "tidied up"

    one.add(tidy, timeout=600)
    one.start()
    await one.has("Running")
    one.stopping.set()
    await asyncio.wait_for(one.life, 5)
    (run,) = await one.runs()
    assert (run.state, run.output) == ("Succeeded", "tidied up")


async def test_a_task_that_does_not_heed_the_end_is_interrupted_and_run_again(make):
    one = make()
    one.add(waiting(), timeout=600)
    one.start()
    await one.has("Running")
    await one.end()
    assert await one.states() == ["Interrupted"]
    again = make()
    again.add(saying("well"))
    again.start()
    await again.has("Interrupted", "Succeeded")


async def test_nothing_begins_once_the_end_was_asked_for(make, clock):
    one = make()
    one.add(saying("well"))
    one.start()
    await one.has("Succeeded")
    one.stopping.set()
    await asyncio.wait_for(one.life, 5)
    count = len(await one.runs())
    await clock.advance(600)
    assert len(await one.runs()) == count


async def test_a_suspended_plugin_is_not_called_and_made_up_for_once(make, clock):
    one = make()
    one.add(saying("well"), paused=True)
    one.start()
    since = clock.time()
    await one.passes(lambda: clock.time() > since + 600, step=5)
    assert await one.runs() == []
    with pytest.raises(Conflict, match="suspended"):
        await one.rows.ask("work", "ada")
    one.add(saying("well"))
    await one.has("Succeeded", "Succeeded")
    first, second = (await one.runs())[:2]
    assert since + 60 <= first.due < since + 80  # the first of those that went by
    assert second.due - first.started <= 60


async def test_whoever_asks_gets_a_run_now(make, clock):
    """It says who asked; a second order while it runs is refused; what is not there cannot be run."""
    one, begun = make(), []
    one.add(waiting(begun), times=Every(86400))
    one.start()
    await one.passes(lambda: _found(one.rows, "work"))
    await one.rows.ask("work", "ada")
    one.scheduler.poke()
    await one.has("Running")
    (run,) = await one.runs()
    assert run.by == "ada"
    with pytest.raises(Conflict, match="is running"):
        await one.rows.ask("work", "ada")
    with pytest.raises(TaskNotFound):
        await one.rows.ask("nothing", "ada")


async def _found(rows, name):
    return name in await rows.rows([name])


async def test_a_changed_schedule_waits_for_its_new_time(make, clock):
    one = make()
    one.add(saying("well"), times=Every(50_000))
    one.start()
    await one.passes(lambda: _found(one.rows, "work"))
    one.add(saying("well"), times=Every(60))
    changed = clock.time()
    await one.has("Succeeded")
    (run, *_) = await one.runs()
    assert changed + 60 <= run.due < changed + 60 + 20


async def test_a_task_that_is_gone_is_ended_and_its_runs_are_kept(make):
    one = make()
    one.add(waiting(), timeout=600)
    one.start()
    await one.has("Running")
    del one.tasks["work"]
    await one.has("Interrupted")
    assert await one.rows.rows(["work"]) == {}


async def test_a_run_whose_task_and_controller_are_gone_is_interrupted(make, clock):
    """Another controller writes it down when it finds that nobody wants the task; so the run grows old like any other."""
    one, two = make("pod-a"), make("pod-b")
    one.add(waiting())
    one.start()
    await one.has("Running")
    await one.kill()
    two.start()
    await two.has("Interrupted")
    (run,) = await two.runs()
    assert run.detail == "its plugin or schedule was removed, or is another controller's now"
    assert await two.rows.forget(clock.time() + 1) == 1
    assert await two.runs() == []


async def test_runs_are_kept_within_bounds(make, database, clock):
    """The latest hundred of each task; older than told, all but the last."""
    one = make()
    one.add(saying("well"), times=Every(10))
    one.start()
    await one.passes(lambda: one._is(["Succeeded"] * KEPT_RUNS, "work"), step=10)
    since = (await one.runs())[-1].number
    await one.passes(lambda: _beyond(one, since + 3), step=10)
    assert len(await one.runs()) <= KEPT_RUNS + 1
    await one.end()
    assert await one.rows.forget(clock.time() + 1) >= KEPT_RUNS - 2
    assert len(await one.runs()) == 1


async def _beyond(one, number):
    return (await one.runs())[-1].number > number
