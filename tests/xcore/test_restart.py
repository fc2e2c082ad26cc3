"""Back-off and budget: what an end costs, and when the next start is due."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from tests.support import manifest
from xcore.restart import Restarts, backoff, forgiven, record, resumed
from xcore.spec import RestartSpec
from xcore.workload import Exit, ExitReason

SPEC = RestartSpec()


def spec(**fields):
    return manifest(restart=fields).spec.restart


def end(at=0.0, reason=ExitReason.Error, *, served=True):
    return Exit(reason, 1, at, served=served)


def series(times, policy=SPEC, *, dice=0.5, healthy=0.0):
    """Crash so often, each time at the moment of the start; returns the delays."""
    history, now, delays = Restarts(), 0.0, []
    for _ in range(times):
        history = record(history, end(now), policy, healthy=healthy, dice=dice)
        if history.next_time is None:
            break
        delays.append(history.next_time - now)
        now = history.next_time
    return history, delays


def test_the_first_restart_is_immediate_and_then_the_delay_doubles_up_to_a_minute():
    _, delays = series(9)
    assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff(10_000) == 60


@given(st.floats(0, 1), st.integers(0, 9))
def test_the_jitter_is_ten_percent_at_most(dice, restarts):
    _, delays = series(restarts + 1, dice=dice)
    assert delays[-1] == pytest.approx(backoff(restarts), rel=0.1001)


def test_ten_healthy_minutes_begin_the_series_anew():
    history, _ = series(5)
    again = record(history, end(5000.0), SPEC, healthy=600.0, dice=0.5)
    assert (again.consecutive, again.next_time) == (1, 5000.0)
    still = record(history, end(5000.0), SPEC, healthy=599.0, dice=0.5)
    assert still.next_time == 5016.0


def test_a_spent_budget_holds_the_plugin():
    history, delays = series(20)
    assert len(delays) == 10
    assert (history.held, history.next_time, history.count) == ("RestartBudgetExhausted", None, 10)


def test_or_it_keeps_trying_at_the_longest_delay_where_that_is_declared():
    history, delays = series(15, spec(maxRestarts=3, onExhausted="KeepTrying"))
    assert delays == [0, 1, 2, *[60] * 12]
    assert history.held == ""


def test_no_restart_at_all_may_be_the_budget():
    assert series(1, spec(maxRestarts=0))[0].held == "RestartBudgetExhausted"


def test_restarts_that_left_the_window_do_not_count():
    policy = spec(maxRestarts=2, windowSeconds=10)
    history = Restarts()
    for at in (0.0, 20.0, 40.0, 60.0):
        history = record(history, end(at), policy, healthy=0.0, dice=0.5)
    assert history.held == ""
    assert history.in_window(60.0, 10) == 1
    assert history.count == 4


@pytest.mark.parametrize("reason", [ExitReason.Evicted, ExitReason.Removed])
@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_what_the_engine_or_somebody_else_ended_costs_neither_budget_nor_delay(reason, policy):
    before = Restarts(recent=(1.0,), consecutive=4)
    after = record(before, end(100.0, reason), spec(policy=policy), healthy=5.0, dice=0.5)
    assert (after.recent, after.consecutive, after.next_time, after.held) == ((1.0,), 4, 100.0, "")


def test_what_the_engine_lost_before_it_was_ready_is_not_started_again_without_a_pause():
    after = record(Restarts(), end(100.0, ExitReason.Evicted, served=False), SPEC, healthy=0.0, dice=0.5)
    assert after.next_time == 101.0


@pytest.mark.parametrize(
    ("policy", "reason", "left"),
    [
        ("Always", ExitReason.Completed, False),
        ("OnFailure", ExitReason.Completed, True),
        ("OnFailure", ExitReason.Error, False),
        ("OnFailure", ExitReason.OutOfMemory, False),
        ("Never", ExitReason.Completed, True),
        ("Never", ExitReason.ProbeFailed, True),
    ],
)
def test_the_policy_tells_after_which_ends_it_is_left_alone(policy, reason, left):
    after = record(Restarts(), end(5.0, reason), spec(policy=policy), healthy=0.0, dice=0.5)
    assert (after.held == "Exited") is left
    assert (after.next_time is None) is left
    assert after.count == (0 if left else 1)


def test_an_end_after_a_hold_that_somebody_lifted_is_judged_by_itself():
    held = Restarts(held="Exited")
    assert record(held, end(5.0), SPEC, healthy=0.0, dice=0.5).held == ""


def test_forgiving_forgets_what_was_spent_and_keeps_what_was_counted():
    history, _ = series(20)
    assert forgiven(history) == Restarts(count=10, last=history.last)


def test_a_clock_set_back_between_two_controllers_does_not_hold_a_plugin_for_long():
    history = Restarts(next_time=10_000.0)
    assert resumed(history, 100.0).next_time == 166.0
    assert resumed(replace(history, next_time=120.0), 100.0).next_time == 120.0
    assert resumed(Restarts(), 100.0) == Restarts()
