"""What becomes of one plugin over time: crashes, budgets, revisions, outages, and what others do behind our back."""

import asyncio
import itertools
import math

import pytest

from tests.xcore.kernel import make_workload, world
from xcore.errors import ImagePull, RuntimeUnavailable, WorkloadRejected
from xcore.restart import Restarts
from xcore.testing import FakeClock, FakeEngine
from xcore.workload import Exit, ExitReason, Phase

NEVER = {"restart": {"policy": "Never"}}
ON_FAILURE = {"restart": {"policy": "OnFailure"}}
RECREATE = {"update": {"strategy": "Recreate"}}


def started(world):
    """When each instance began, seconds after the first."""
    return [i.started_at - world.born[0].started_at for i in world.born]


# -- crashes ------------------------------------------------------------------------------------------------------


async def test_a_crash_loop_backs_off_1_2_4_up_to_60_seconds():
    async with world() as w:
        w.behaves("a").exits_after = 0.0
        w.want(make_workload(restart={"maxRestarts": 1000}))
        await w.clock.advance(400)
        times = started(w)
        delays = [later - earlier for earlier, later in itertools.pairwise(times)]
        expected = [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert [pytest.approx(delay, abs=0.3) for delay in expected] == delays[:10]


@pytest.mark.parametrize(("dice", "factor"), [(0.0, 0.9), (1.0, 1.1)])
async def test_the_delay_varies_by_ten_percent(dice, factor):
    async with world(dice=lambda: dice) as w:
        w.behaves("a").exits_after = 0.0
        w.want(make_workload(restart={"maxRestarts": 1000}))
        await w.clock.advance(200)
        times = started(w)
        assert times[7] - times[6] == pytest.approx(32 * factor, abs=0.3)


async def test_a_crash_loop_never_keeps_the_engine_busy():
    async with world() as w:
        w.behaves("a").exits_after = 0.0
        w.want(make_workload())
        for _ in range(100):
            w.runtime.poke("hello")  # as requests do that find nobody
            await w.clock.advance(0.01)
        assert len(w.born) <= 3
        assert len(w.engine.found()) <= 2


async def test_one_crash_is_answered_at_once_counted_and_told_with_its_last_words():
    async with world() as w:
        w.want(make_workload())
        before = await w.settled()
        w.engine.say(before.id, "Traceback: boom\n")
        await w.crash(code=3)
        after = await w.settled(seconds=1)
        assert after.id != before.id
        assert [(e.reason, e.code, e.message, e.served) for e in w.ends] == [
            (ExitReason.Error, 3, "Traceback: boom", True)
        ]
        assert w.now().restarts.count == 1
        assert w.now().restarts.last == w.ends[0]


async def test_it_is_settled_only_while_requests_go_to_what_is_wanted():
    """Also when somebody goes back to a revision whose instance has not left yet."""
    async with world() as w:
        w.want(make_workload(code="a"))
        await w.settled()
        w.want(make_workload(code="b", generation=2))
        moving = asyncio.create_task(w.clock.advance(5))
        while not w.now().settled:
            await asyncio.sleep(0)
        assert len(w.now().instances) == 2, "the old one has not left yet"
        back = make_workload(code="a", generation=3)
        w.want(back)
        assert not w.now().settled
        await moving
        assert (await w.settled()).revision == back.revision


async def test_ten_healthy_minutes_begin_the_series_anew():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        for _ in range(3):
            await w.crash()
            await w.settled()
        assert w.now().restarts.consecutive == 3
        await w.healthy(minutes=10)
        await w.crash()
        await w.settled(seconds=1)
        assert w.now().restarts.consecutive == 1
        assert w.now().restarts.count == 4


async def test_a_spent_budget_holds_it_until_somebody_restarts_it():
    async with world() as w:
        w.behaves("a").exits_after = 0.0
        w.want(make_workload(restart={"maxRestarts": 2}))
        await w.clock.advance(3600)
        assert len(w.born) == 3
        assert w.now().restarts.held == "RestartBudgetExhausted"
        assert w.now().given_up
        assert w.now().expected_within(w.clock.time()) is None
        w.behaves("a").exits_after = None
        w.runtime.restart("hello", make_workload(generation=2))
        await w.settled()
        assert w.now().restarts.held == ""


async def test_a_spent_budget_does_not_touch_other_plugins():
    async with world() as w:
        w.behaves("a").exits_after = 0.0
        w.want(make_workload(restart={"maxRestarts": 0}))
        w.want(make_workload("other"))
        other = await w.settled("other")
        await w.clock.advance(600)
        assert w.now().restarts.held
        assert w.serving("other").id == other.id


async def test_or_it_keeps_trying_once_a_minute():
    async with world() as w:
        w.behaves("a").exits_after = 0.0
        w.want(make_workload(restart={"maxRestarts": 2, "onExhausted": "KeepTrying"}))
        await w.clock.advance(600)
        times = started(w)
        assert len(times) > 10
        assert times[-1] - times[-2] == pytest.approx(60, abs=0.3)


@pytest.mark.parametrize(
    ("spec", "code", "again"),
    [({}, 0, True), (ON_FAILURE, 0, False), (ON_FAILURE, 1, True), (NEVER, 1, False)],
)
async def test_the_restart_policy_decides_after_which_exit_it_comes_back(spec, code, again):
    async with world() as w:
        w.want(make_workload(**spec))
        await w.settled()
        await w.crash(ExitReason.Completed if code == 0 else ExitReason.Error, code)
        await w.clock.advance(300)
        assert (w.serving() is not None) is again
        assert w.now().restarts.held == ("" if again else "Exited")


async def test_a_plugin_with_policy_never_that_the_engine_lost_comes_back():
    async with world() as w:
        w.want(make_workload(**NEVER))
        await w.settled()
        w.engine.vanish(w.serving().id)
        await w.clock.advance(5)
        await w.settled()


async def test_the_logs_of_the_last_crash_stay_and_older_ones_go():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        for number in range(4):
            w.engine.say(w.serving().id, f"run {number}")
            await w.crash()
            await w.settled()
        assert len(w.engine.found()) == 2
        assert [line.text async for line in w.runtime.logs("hello", lines=10, follow=False)] == ["run 3"]


async def test_a_child_killed_for_memory_restarts_the_instance_and_is_told():
    async with world() as w:
        w.want(make_workload())
        before = await w.settled()
        w.engine.oom(before.id)
        await w.clock.advance(5)
        assert (await w.settled()).id != before.id
        assert w.now().restarts.last.reason is ExitReason.OutOfMemory
        assert len(w.now().restarts.recent) == 1


async def test_a_hung_instance_is_gone_before_another_starts_and_it_counts_as_probe_failure():
    async with world() as w:
        w.want(make_workload(restart={"maxRestarts": 1000}))
        before = await w.settled()
        w.behaves("a").live = False
        for _ in range(500):
            w.runtime.poke("hello")
            await w.clock.advance(0.1)
            assert len(w.engine.alive()) <= 1
        assert w.ends[0].reason is ExitReason.ProbeFailed
        assert w.ends[0].message == "liveness: /live answered 503"
        assert w.now().restarts.count >= 1
        assert before.id not in [i.id for i in w.engine.alive()]


async def test_a_hung_instance_that_cannot_be_killed_gets_no_twin():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        for _ in range(20):
            w.engine.fail("stop", RuntimeUnavailable("timed out"))
        w.behaves("a").live = False
        await w.clock.advance(60)
        assert len(w.engine.alive()) == 1
        w.behaves("a").live = True
        await w.clock.advance(120)
        await w.settled()
        assert w.now().restarts.count == 1


async def test_flapping_readiness_takes_the_instance_out_and_restarts_nothing():
    async with world() as w:
        w.want(make_workload())
        before = await w.settled()
        for _ in range(3):
            w.behaves("a").ready = False
            await w.clock.until(lambda: w.serving() is None, seconds=11)
            w.behaves("a").ready = True
            await w.clock.until(lambda: w.serving() is not None, seconds=6)
        assert w.serving().id == before.id
        assert w.ends == []


async def test_slow_start_up_within_its_window_is_no_failure():
    async with world() as w:
        w.behaves("a").ready_after = 50
        w.behaves("a").live = True
        w.want(make_workload())
        await w.settled()
        assert len(w.born) == 1


async def test_a_plugin_that_does_not_come_up_in_its_window_is_restarted_with_a_delay():
    async with world() as w:
        w.behaves("a").ready_after = math.inf
        w.want(make_workload(probes={"startup": {"failureThreshold": 5}}))
        await w.clock.advance(30)
        assert w.ends[0].reason is ExitReason.ProbeFailed
        assert not w.ends[0].served
        assert w.now().restarts.consecutive >= 2


# -- the engine's own failures ------------------------------------------------------------------------------------


async def test_what_was_removed_behind_our_back_is_back_and_costs_nothing():
    async with world() as w:
        w.want(make_workload())
        before = await w.settled()
        w.engine.vanish(before.id)
        await w.clock.advance(1)
        assert (await w.settled()).id != before.id
        history = w.now().restarts
        assert (history.last.reason, history.recent, history.consecutive) == (ExitReason.Removed, (), 0)


async def test_what_an_outage_of_the_engine_evicted_is_back_at_once_and_costs_nothing():
    async with world() as w:
        names = [f"plugin-{n}" for n in range(10)]
        for name in names:
            w.want(make_workload(name))
        for name in names:
            await w.settled(name)
        w.engine.away = True
        for instance in w.engine.alive():
            w.engine.crash(instance.id, ExitReason.Evicted, 137)
        await w.clock.advance(60)
        w.engine.away = False
        await w.clock.advance(10)
        for name in names:
            await w.settled(name, seconds=5)
            assert w.now(name).restarts.recent == ()
            assert w.now(name).restarts.consecutive == 0


async def test_while_the_engine_is_away_what_was_ready_stays_ready_and_the_failure_is_told():
    async with world() as w:
        w.want(make_workload())
        before = await w.settled()
        w.engine.away = True
        await w.clock.advance(300)
        assert isinstance(w.now().failure, RuntimeUnavailable)
        assert w.serving().id == before.id
        w.engine.away = False
        await w.clock.advance(5)
        assert w.now().failure is None
        assert w.now().restarts == Restarts()
        assert len(w.born) == 1


async def test_pokes_do_not_make_a_silent_engine_be_asked_more_often():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        calls = []
        original = w.engine.list

        async def counted(plugin=None):
            calls.append(plugin)
            return await original(plugin)

        w.engine.list = counted
        w.engine.away = True
        for _ in range(100):
            w.runtime.poke("hello")
            await w.clock.advance(0.1)
        assert len(calls) <= 8


async def test_a_burst_of_pokes_makes_one_look():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        calls = []
        original = w.engine.list

        async def counted(plugin=None):
            calls.append(plugin)
            return await original(plugin)

        w.engine.list = counted
        for _ in range(1000):
            w.runtime.poke("hello")
            await asyncio.sleep(0)
        await w.clock.advance(0.1)
        assert len(calls) <= 3


async def test_a_start_whose_answer_was_lost_makes_no_twin():
    async with world() as w:
        w.engine.fail("start", RuntimeUnavailable("the answer was cut"), after=True)
        w.want(make_workload())
        await w.clock.advance(20)
        await w.settled()
        assert len(w.born) == 1
        assert w.now().restarts == Restarts()


async def test_a_refused_workload_is_tried_again_ever_more_slowly_however_often_it_is_poked():
    async with world() as w:
        w.engine.refuse = ImagePull("the image is not there")
        attempts = []
        original = w.engine.start

        async def counted(workload):
            attempts.append(w.clock.time())
            return await original(workload)

        w.engine.start = counted
        w.want(make_workload())
        for _ in range(1200):
            w.runtime.poke("hello")
            await w.clock.advance(0.1)
        assert 6 <= len(attempts) <= 8
        assert isinstance(w.now().failure, ImagePull)
        assert w.now().restarts == Restarts()
        assert w.now().expected_within(w.clock.time()) is None
        w.engine.refuse = None
        await w.clock.advance(61)
        await w.settled()
        assert w.now().failure is None


async def test_a_new_revision_is_not_kept_waiting_by_the_refusal_of_the_last_one():
    async with world() as w:
        w.engine.refuse = WorkloadRejected("no such runtime class")
        w.want(make_workload())
        await w.clock.advance(100)
        w.engine.refuse = None
        w.want(make_workload(code="b", generation=2))
        await w.settled(seconds=1)


async def test_a_stop_that_fails_is_tried_again_with_a_delay_and_costs_nothing():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        for _ in range(5):
            w.engine.fail("stop", RuntimeUnavailable("timed out"))
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(20)
        after = await w.settled()
        assert after.revision == make_workload(code="b").revision
        assert len(w.engine.found()) == 1
        assert w.now().restarts == Restarts()
        assert w.ends == []


async def test_a_stop_that_worked_although_its_answer_was_lost_is_no_crash():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        w.engine.fail("stop", RuntimeUnavailable("the answer was cut"), after=True)
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(10)
        await w.settled()
        assert w.now().restarts == Restarts()


async def test_an_instance_whose_stop_failed_and_that_is_wanted_again_is_probed_and_judged_as_before():
    async with world() as w:
        w.want(make_workload())
        before = await w.settled()
        for _ in range(50):
            w.engine.fail("stop", RuntimeUnavailable("timed out"))
        w.want(make_workload(), suspended=True)
        await w.clock.advance(2)
        w.want(make_workload())
        await w.clock.advance(10)
        assert w.serving().id == before.id
        w.behaves("a").ready = False
        await w.clock.advance(12)
        assert w.serving() is None
        w.behaves("a").ready = True
        await w.clock.advance(6)
        await w.crash()
        await w.settled()
        assert w.now().restarts.count == 1


async def test_what_could_not_be_removed_after_a_planned_stop_is_removed_later():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        w.engine.fail("remove", RuntimeUnavailable("timed out"))
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(20)
        await w.settled()
        assert len(w.engine.found()) == 1


async def test_a_bug_in_an_engine_does_not_end_supervision(caplog):
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        w.engine.fail("list", ZeroDivisionError())
        await w.clock.advance(1)
        w.runtime.poke("hello")
        await w.clock.advance(1)
        assert "the keeper of hello failed" in caplog.text
        await w.crash()
        await w.clock.advance(20)
        await w.settled()


async def test_what_an_engine_refuses_to_remove_does_not_keep_the_plugin_from_running():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        for _ in range(3):
            await w.crash()
            w.engine.fail("remove", WorkloadRejected("it is being removed already"))
            await w.clock.advance(20)
        await w.settled()


# -- new revisions ------------------------------------------------------------------------------------------------


async def test_a_new_revision_serves_once_it_is_ready_and_the_old_one_is_drained_then_removed():
    async with world() as w:
        w.want(make_workload())
        old = await w.settled()
        w.behaves("b").ready_after = 5
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(4)
        assert w.serving().id == old.id
        assert not w.now().settled
        new = await w.settled()
        assert new.revision == make_workload(code="b").revision
        assert w.drained == [old.id]
        assert [i.id for i in w.engine.found()] == [new.id]
        assert w.ends == []


async def test_while_it_drains_the_old_instance_is_on_its_way_out_and_serves_nobody():
    async with world() as w:
        w.want(make_workload())
        old = await w.settled()
        let_go = asyncio.Event()

        async def drain(plugin, instance, seconds):
            await let_go.wait()

        w.runtime.attach(drain=drain, exited=lambda *_: None)
        w.want(make_workload("other"))  # attached before its keeper was made
        await w.settled("other")
        other = w.serving("other")
        w.want(make_workload("other", code="b", generation=2))
        await w.clock.advance(30)
        assert [i.id for i in w.now("other").leaving] == [other.id]
        assert w.serving("other").id != other.id
        assert len(w.engine.alive("other")) == 2
        let_go.set()
        await w.settled("other")
        assert w.serving().id == old.id


@pytest.mark.parametrize(
    "broken",
    [{"exits_after": 0.0, "code": 70}, {"exits_after": 3.0, "ready_after": 10.0}, {"ready_after": math.inf}],
)
async def test_a_broken_revision_leaves_the_old_one_serving_and_spends_nothing(broken):
    async with world() as w:
        w.want(make_workload())
        old = await w.settled()
        for name, value in broken.items():
            setattr(w.behaves("b"), name, value)
        w.behaves("b").says = "ImportError: nowhere"
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(600)
        assert w.serving().id == old.id
        assert w.now().broken
        assert not w.now().settled
        assert w.now().given_up
        assert len(w.born) == 2
        history = w.now().restarts
        assert (history.count, history.recent, history.consecutive, history.held) == (0, (), 0, "")
        assert [e.served for e in w.ends] == [False]


async def test_why_the_new_revision_is_broken_is_told_in_its_own_last_words():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        w.behaves("b").exits_after, w.behaves("b").says = 0.0, "ImportError: nowhere"
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(5)
        assert w.now().broken == "ImportError: nowhere"


async def test_a_revision_that_is_up_but_never_ready_is_given_up_at_its_progress_deadline():
    async with world() as w:
        w.want(make_workload())
        old = await w.settled()
        w.behaves("b").ready = False
        w.want(make_workload(code="b", generation=2, update={"progressDeadlineSeconds": 30}))
        await w.clock.advance(29)
        assert not w.now().broken
        await w.clock.advance(2)
        assert "progress deadline" in w.now().broken
        await w.clock.advance(1)
        assert [i.id for i in w.engine.alive()] == [old.id]


async def test_a_refused_new_revision_is_given_up_at_its_progress_deadline_too():
    async with world() as w:
        w.want(make_workload())
        old = await w.settled()
        w.engine.refuse = WorkloadRejected("no such runtime class")
        w.want(make_workload(code="b", generation=2, update={"progressDeadlineSeconds": 30}))
        await w.clock.advance(31)
        assert w.now().broken
        assert w.serving().id == old.id
        await w.clock.advance(100)
        assert w.now().failure is None


async def test_an_outage_does_not_run_down_the_progress_deadline():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        w.engine.away = True
        w.want(make_workload(code="b", generation=2, update={"progressDeadlineSeconds": 30}))
        await w.clock.advance(300)
        w.engine.away = False
        await w.clock.advance(10)
        assert (await w.settled()).revision == make_workload(code="b").revision


async def test_a_fixed_revision_after_a_broken_one_is_taken_at_once():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        w.behaves("b").exits_after = 0.0
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(10)
        w.want(make_workload(code="c", generation=3))
        assert (await w.settled(seconds=2)).revision == make_workload(code="c").revision
        assert not w.now().broken


async def test_going_back_from_a_broken_revision_settles_on_the_instance_that_never_stopped():
    async with world() as w:
        w.want(make_workload())
        old = await w.settled()
        w.behaves("b").exits_after = 0.0
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(10)
        w.want(make_workload(generation=3))
        assert (await w.settled(seconds=1)).id == old.id
        w.want(make_workload(code="b", generation=4))
        await w.clock.advance(5)
        assert w.now().broken, "saved again, it is tried again, and told again"
        assert len(w.born) == 3
        assert w.serving().id == old.id


async def test_a_restart_tries_a_broken_revision_once_more():
    async with world() as w:
        w.want(make_workload())
        old = await w.settled()
        w.behaves("b").exits_after = 0.0
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(10)
        w.runtime.restart("hello", make_workload(code="b", generation=3))
        await w.clock.advance(10)
        assert w.serving().id == old.id
        assert w.now().broken
        w.behaves("b").exits_after = None
        w.runtime.restart("hello", make_workload(code="b", generation=4))
        assert (await w.settled()).generation == 4


async def test_the_older_revision_is_brought_back_when_it_crashes_while_the_new_one_is_broken():
    async with world() as w:
        w.want(make_workload())
        old = await w.settled()
        w.behaves("b").exits_after = 0.0
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(10)
        await w.crash()
        await w.clock.until(lambda: w.serving() is not None, seconds=2)
        assert w.serving().id != old.id
        assert w.serving().revision == make_workload().revision
        assert w.now().restarts.count == 1


async def test_the_older_revision_keeps_its_own_probes_while_the_new_one_is_broken():
    async with world() as w:
        w.behaves("a").ready_after = 20
        w.want(make_workload())
        await w.settled()
        w.behaves("b").exits_after = 0.0
        tight = {"startup": {"failureThreshold": 1}}
        w.want(make_workload(code="b", generation=2, probes=tight))
        await w.clock.advance(10)
        await w.crash()
        await w.clock.until(lambda: w.serving() is not None, seconds=30)
        assert w.now().restarts.count == 1


async def test_an_old_instance_that_crashes_while_the_new_one_starts_spends_nothing():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        w.behaves("b").ready_after = 10
        w.want(make_workload(code="b", generation=2))
        await w.clock.advance(5)
        await w.crash()
        await w.settled(seconds=6)
        assert len(w.born) == 2
        assert w.now().restarts.recent == ()
        assert w.now().restarts.last.reason is ExitReason.Error


async def test_quick_successive_revisions_converge_on_the_newest():
    async with world() as w:
        w.engine.starting_takes = 0.4
        w.want(make_workload())
        old = await w.settled()
        codes = [f"c{number}" for number in range(20)]
        for number, code in enumerate(codes):
            w.behaves(code).ready_after = 1.0
            w.want(make_workload(code=code, generation=number + 2))
            await w.clock.advance(0.15)
            assert w.serving() is not None
            assert len(w.engine.alive()) <= 3
        assert w.serving().id == old.id
        newest = await w.settled()
        assert newest.revision == make_workload(code=codes[-1]).revision
        assert len(w.engine.found()) == 1
        assert w.now().restarts == Restarts()


async def test_with_recreate_the_old_one_is_gone_before_the_new_one_starts():
    async with world() as w:
        w.want(make_workload(**RECREATE))
        await w.settled()
        w.want(make_workload(code="b", generation=2, **RECREATE))
        for _ in range(100):
            w.runtime.poke("hello")
            await w.clock.advance(0.05)
            assert len(w.engine.alive()) <= 1
        assert (await w.settled()).revision == make_workload(code="b").revision


async def test_with_recreate_a_broken_revision_is_followed_by_the_old_one_again():
    async with world() as w:
        w.want(make_workload(**RECREATE))
        await w.settled()
        w.behaves("b").exits_after = 0.0
        w.want(make_workload(code="b", generation=2, **RECREATE))
        await w.clock.until(lambda: w.serving() is not None, seconds=10)
        assert w.serving().revision == make_workload().revision
        assert w.now().restarts.recent == ()


async def test_changed_probes_take_effect_in_place():
    async with world() as w:
        w.want(make_workload())
        before = await w.settled()
        changed = make_workload(
            generation=2, probes={"readiness": {"periodSeconds": 1, "failureThreshold": 1}}
        )
        w.want(changed)
        await w.clock.advance(30)
        assert (await w.settled()).id == before.id
        w.behaves("a").ready = False
        await w.clock.advance(1.1)
        assert w.serving() is None


async def test_whatever_does_not_roll_takes_effect_without_a_new_instance():
    async with world() as w:
        w.want(make_workload())
        before = await w.settled()
        for number, spec in enumerate([ON_FAILURE, {"traffic": {"maxConcurrentRequests": 1}}, RECREATE]):
            w.want(make_workload(generation=number + 2, **spec))
            await w.clock.advance(20)
        assert (await w.settled()).id == before.id
        assert w.now().wanted.generation == 4
        assert w.now().fallback == w.now().wanted, "what is remembered as good has the new settings too"


# -- restart, suspend, remove -------------------------------------------------------------------------------------


async def test_a_restart_under_way_is_overtaken_by_the_next_one():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        w.behaves("a").ready_after = 3
        for generation in (2, 3, 4):
            w.runtime.restart("hello", make_workload(generation=generation))
            await w.clock.advance(1)
            assert w.serving().generation == 1
        assert (await w.settled()).generation == 4
        assert len(w.engine.found()) == 1


async def test_a_crash_during_a_restart_spends_nothing_when_it_is_the_old_one():
    async with world() as w:
        w.want(make_workload(**ON_FAILURE))
        await w.settled()
        w.behaves("a").ready_after = 5
        w.runtime.restart("hello", make_workload(generation=2, **ON_FAILURE))
        await w.clock.advance(1)
        await w.crash(ExitReason.Completed, 0)
        new = await w.settled()
        assert w.now().restarts.recent == ()
        w.engine.crash(new.id)
        await w.clock.advance(1)
        await w.settled()


async def test_a_plugin_suspended_while_it_starts_is_stopped():
    async with world() as w:
        w.engine.starting_takes = 2
        w.want(make_workload())
        await w.clock.advance(1)
        w.want(make_workload(), suspended=True)
        await w.clock.advance(10)
        assert w.engine.found() == []
        assert w.ends == []


async def test_whoever_waits_for_its_turn_to_start_may_be_suspended_or_removed_meanwhile():
    async with world() as w:
        w.engine.starting_takes = 5
        names = [f"plugin-{n}" for n in range(12)]
        for name in names:
            w.want(make_workload(name))
        await w.clock.advance(1)
        for name in names[4:]:
            w.want(make_workload(name), suspended=True)
        await w.clock.advance(60)
        assert len(w.born) == 4


async def test_four_at_most_are_starting_at_once():
    async with world() as w:
        w.engine.starting_takes = 5
        for number in range(12):
            w.want(make_workload(f"plugin-{number}"))
        await w.clock.advance(5.1)
        assert len(w.born) == 4
        await w.clock.advance(10.1)
        assert len(w.born) == 12


async def test_resuming_gives_a_full_budget():
    async with world() as w:
        w.behaves("a").exits_after = 0.0
        w.want(make_workload(restart={"maxRestarts": 1}))
        await w.clock.advance(60)
        assert w.now().restarts.held
        w.want(make_workload(restart={"maxRestarts": 1}), suspended=True)
        await w.clock.advance(1)
        w.behaves("a").exits_after = None
        w.want(make_workload(restart={"maxRestarts": 1}))
        await w.settled()


async def test_a_removed_plugin_is_given_its_own_grace_to_finish():
    async with world() as w:
        w.want(make_workload(terminationGracePeriodSeconds=45))
        await w.settled()
        graces = []
        original = w.engine.stop

        async def stop(instance, *, grace):
            graces.append(grace)
            await original(instance, grace=grace)

        w.engine.stop = stop
        removing = asyncio.create_task(w.runtime.remove("hello"))
        await w.clock.advance(2)
        assert removing.done()
        assert graces == [45]
        assert w.engine.found() == []
        assert w.now() is None


async def test_a_plugin_wanted_again_before_it_is_gone_starts_with_a_clean_slate():
    async with world() as w:
        w.want(make_workload(generation=1))
        await w.settled()
        w.runtime.restart("hello", make_workload(generation=7))
        await w.settled()
        w.engine.away = True
        removing = asyncio.create_task(w.runtime.remove("hello"))
        await w.clock.advance(10)
        assert not removing.done()
        w.want(make_workload(generation=1))
        await w.clock.advance(1)
        assert removing.done()
        w.engine.away = False
        await w.clock.advance(30)
        await w.settled()
        assert len(w.engine.alive()) == 1
        assert len(w.born) <= 3


async def test_a_plugin_wanted_again_after_a_removal_nobody_waited_for_runs():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        removing = asyncio.create_task(w.runtime.remove("hello"))
        await asyncio.sleep(0)
        removing.cancel()
        await w.clock.advance(5)
        assert w.now() is None
        w.want(make_workload())
        await w.settled()


# -- the next controller ------------------------------------------------------------------------------------------


async def test_the_next_controller_adopts_what_runs_however_old_it_is():
    clock = FakeClock()
    engine = FakeEngine(clock)
    async with world(clock=clock, engine=engine) as first:
        first.want(make_workload())
        before = await first.settled()
        await clock.advance(3_000)
    async with world(clock=clock, engine=engine) as second:
        second.want(make_workload(), fallback=make_workload())
        await clock.advance(300)
        assert (await second.settled()).id == before.id
        assert len(engine.host.born) == 1


async def test_after_a_broken_revision_the_next_controller_keeps_the_old_one_serving_while_it_fails_once_more():
    clock = FakeClock()
    engine = FakeEngine(clock)
    async with world(clock=clock, engine=engine) as first:
        first.want(make_workload())
        before = await first.settled()
        first.behaves("b").exits_after = 0.0
        first.want(make_workload(code="b", generation=2))
        await clock.advance(200)
        history = first.now().restarts
    async with world(clock=clock, engine=engine) as second:
        second.want(make_workload(), fallback=make_workload(), history=history)
        second.want(make_workload(code="b", generation=3), fallback=make_workload(), history=history)
        for _ in range(100):
            await clock.advance(1)
            assert engine.host.boxes[before.id].instance.exit is None
        assert second.serving().id == before.id
        assert second.now().broken
        assert len(engine.host.born) == 3
        assert second.now().restarts.recent == ()


@pytest.mark.parametrize(("policy", "again"), [({}, True), (NEVER, False)])
async def test_a_crash_that_no_controller_saw_is_judged_by_the_next_one(policy, again):
    clock = FakeClock()
    engine = FakeEngine(clock)
    async with world(clock=clock, engine=engine) as first:
        first.want(make_workload(**policy))
        await first.settled()
    await clock.advance(60)
    engine.crash(engine.alive()[0].id, code=4)
    await clock.advance(60)
    async with world(clock=clock, engine=engine) as second:
        second.want(make_workload(**policy), fallback=make_workload(**policy))
        await clock.advance(10)
        last = second.now().restarts.last
        assert (last.reason, last.code, last.served) == (ExitReason.Error, 4, True)
        assert (second.serving() is not None) is again


async def test_an_end_that_the_last_controller_judged_is_not_judged_again():
    clock = FakeClock()
    engine = FakeEngine(clock)
    async with world(clock=clock, engine=engine) as first:
        first.want(make_workload(**NEVER))
        await first.settled()
        await first.crash()
        await clock.advance(5)
        history = first.now().restarts
    async with world(clock=clock, engine=engine) as second:
        second.want(make_workload(**NEVER), fallback=make_workload(**NEVER), history=history)
        await clock.advance(60)
        assert second.ends == []
        assert second.now().restarts == history


async def test_a_controller_that_went_during_a_restart_leaves_the_serving_instance_until_the_new_one_is_ready():
    clock = FakeClock()
    engine = FakeEngine(clock)
    async with world(clock=clock, engine=engine) as first:
        first.want(make_workload())
        before = await first.settled()
        first.behaves("a").ready_after = 20
        first.runtime.restart("hello", make_workload(generation=2))
        await clock.advance(5)
    async with world(clock=clock, engine=engine) as second:
        second.want(make_workload(generation=2), fallback=make_workload())
        await clock.advance(5)
        assert second.serving().id == before.id
        await second.settled()
        assert len(engine.host.born) == 2


async def test_restarts_in_quick_succession_do_not_pile_up_instances():
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        for generation in range(2, 20):
            w.runtime.restart("hello", make_workload(generation=generation))
            await w.clock.advance(0.06)
            assert w.serving() is not None
            assert len(w.engine.alive()) <= 4
        assert (await w.settled()).generation == 19


async def test_the_back_off_goes_on_where_the_last_controller_left_it():
    clock = FakeClock()
    engine = FakeEngine(clock)
    history = Restarts(
        count=5,
        consecutive=5,
        last=Exit(ExitReason.Error, 1, clock.time()),
        next_time=clock.time() + 30,
    )
    async with world(clock=clock, engine=engine) as w:
        w.want(make_workload(), history=history)
        await clock.advance(29)
        assert w.born == []
        assert w.now().expected_within(clock.time()) == pytest.approx(1.0)
        await clock.advance(2)
        await w.settled()


async def test_letting_go_of_a_plugin_leaves_its_instance_and_none_of_our_tasks():
    before = len(asyncio.all_tasks())
    async with world() as w:
        w.want(make_workload())
        await w.settled()
        engine = w.engine
    assert len(engine.alive()) == 1
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


async def test_an_instance_that_is_up_but_not_ready_is_said_to_be_unready():
    async with world() as w:
        w.behaves("a").ready = False
        w.want(make_workload())
        await w.clock.advance(1)
        assert [i.phase for i in w.now().instances] == [Phase.Unready]
        assert w.now().instances[0].message == "readiness: /ready answered 503"
