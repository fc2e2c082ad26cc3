"""A task is run for each of its times, by one at a time, and none is lost with a controller."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from integrations.tasks import turn as turns
from integrations.tasks.turn import LEASE_SECONDS, MARGIN_SECONDS, MAX_INTERRUPTED, Turn
from xcore.times import Cron, Every

HOUR = Every(3600)
START = 1_700_000_000.0


def test_a_new_task_waits_for_its_first_time():
    assert turns.first(HOUR, START) == Turn(due=START + 3600, ready=START + 3600)


def test_times_that_went_by_are_made_up_for_by_one_run():
    """Ten hours of standstill are one run, and the next time is the regular one."""
    turn = turns.first(HOUR, START)
    late = START + 10.5 * 3600
    assert turns.is_ready(turn, late)
    assert turns.ended(turns.begun(turn, "a", late), HOUR, late + 5).due == START + 11 * 3600


def test_a_failure_is_tried_again_after_growing_pauses():
    turn, now, pauses = turns.first(HOUR, START), START + 3600, []
    while turn.due == START + 3600:
        turn = turns.failed(turns.begun(turn, "a", now), HOUR, now, retries=3, dice=0.5)
        pauses.append(turn.ready - now)
        now = turn.ready
    assert pauses[:3] == [5, 20, 80]
    assert len(pauses) == 4
    assert turn == Turn(due=START + 7200, ready=START + 7200)


def test_a_retry_never_takes_the_place_of_the_next_time():
    often = Cron("* * * * *")
    turn = turns.begun(turns.first(often, START), "a", START + 60)
    for _ in range(10):
        turn = turns.failed(turn, often, START + 60, retries=10, dice=0)
        if turn.attempts == 0:
            break
        turn = turns.begun(turn, "a", turn.ready)
    assert turn.due > START + 60


def test_a_run_that_is_lost_is_run_again_at_once():
    turn = turns.interrupted(turns.begun(turns.first(HOUR, START), "a", START + 3600), HOUR, START + 3700)
    assert (turn.due, turn.ready, turn.holder) == (START + 3600, START + 3700, "")


def test_a_run_that_ends_its_controller_does_not_do_so_for_ever():
    turn = turns.first(HOUR, START)
    for _ in range(MAX_INTERRUPTED):
        turn = turns.interrupted(turns.begun(turn, "a", START + 3600), HOUR, START + 3600)
    assert turn == Turn(due=START + 7200, ready=START + 7200)


def test_an_interruption_uses_up_no_retry():
    turn = turns.begun(turns.first(HOUR, START), "a", START + 3600)
    turn = turns.begun(turns.interrupted(turn, HOUR, START + 3600), "b", START + 3601)
    assert turns.failed(turn, HOUR, START + 3602, retries=1, dice=0.5).ready == START + 3607


def test_whoever_asks_for_a_run_gets_one_now_and_the_regular_time_stays():
    nightly = Cron("0 4 * * *")
    turn = turns.asked(turns.first(nightly, START), "ada", START + 1)
    assert turns.is_ready(turn, START + 1)
    assert turns.ended(turn, nightly, START + 2) == turns.first(nightly, START + 2)


@dataclass
class Holder:
    """A controller: its clock is off by less than half the margin, and it stops when it cannot renew."""

    name: str
    skew: float
    stops_at: float = 0.0
    running: list[float] = field(default_factory=list)


class Replicas(RuleBasedStateMachine):
    """Two controllers, one row: they begin, end, die and come back, in any order."""

    def __init__(self):
        super().__init__()
        self.now = START
        self.turn = turns.first(Every(60), START)
        self.holders = [Holder("a", -MARGIN_SECONDS / 2 + 0.1), Holder("b", MARGIN_SECONDS / 2 - 0.1)]
        self.dues = [self.turn.due]

    def _become(self, turn):
        self.turn = turn
        if turn.due != self.dues[-1]:
            self.dues.append(turn.due)

    def _time(self, holder):
        return self.now + holder.skew

    @rule(seconds=st.sampled_from([0.5, 3, 9, 31, 70, 500]))
    def time_passes(self, seconds):
        self.now += seconds
        for holder in self.holders:
            if holder.running and self._time(holder) >= holder.stops_at:
                holder.running.clear()

    @rule(index=st.integers(0, 1))
    def begins(self, index):
        holder = self.holders[index]
        now = self._time(holder)
        if holder.running or not turns.is_ready(self.turn, now):
            return
        if self.turn.holder:
            self._become(turns.interrupted(self.turn, Every(60), now))
            if not turns.is_ready(self.turn, now):
                return
        self._become(turns.begun(self.turn, holder.name, now))
        holder.running.append(self.turn.due)
        holder.stops_at = now + LEASE_SECONDS - MARGIN_SECONDS

    @rule(index=st.integers(0, 1), how=st.sampled_from(["ended", "failed", "died"]))
    def ends(self, index, how):
        holder = self.holders[index]
        if not holder.running:
            return
        holder.running.clear()
        if how == "ended":
            self._become(turns.ended(self.turn, Every(60), self._time(holder)))
        elif how == "failed":
            self._become(turns.failed(self.turn, Every(60), self._time(holder), retries=2, dice=0.3))

    @precondition(lambda self: any(holder.running for holder in self.holders))
    @rule()
    def is_renewed(self):
        for holder in self.holders:
            if holder.running:
                holder.stops_at = self._time(holder) + LEASE_SECONDS - MARGIN_SECONDS
                self.turn = turns.replace(self.turn, held_until=self._time(holder) + LEASE_SECONDS)

    @invariant()
    def no_two_run_at_once(self):
        assert sum(len(holder.running) for holder in self.holders) <= 1

    @invariant()
    def times_go_forward(self):
        assert self.dues == sorted(self.dues)

    @invariant()
    def attempts_are_bounded(self):
        assert self.turn.attempts <= 3 + MAX_INTERRUPTED
        assert self.turn.interrupted < MAX_INTERRUPTED


TestReplicas = pytest.mark.filterwarnings("ignore")(Replicas.TestCase)
TestReplicas.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
