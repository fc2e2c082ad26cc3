"""Reading how a container ended: by its own doing, for memory, or because the engine went away."""

import pytest

from xcore.runtimes.dockerstate import SETTLING, Outages, exit_of, parse_time
from xcore.workload import ExitReason

ZERO = "0001-01-01T00:00:00Z"


class Time:
    now = 1000.0

    def __call__(self):
        return self.now


def state(status="exited", code=0, at="1970-01-01T00:16:40Z"):
    return {"Status": status, "ExitCode": code, "FinishedAt": at}


def quiet():
    return Outages(Time())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T00:00:01.123456789Z", 1.123456789),
        ("1970-01-01T02:00:01.25+02:00", 1.25),
        ("2024-02-29T12:00:00Z", 1709208000.0),
        (ZERO, 0.0),
        ("", 0.0),
        ("yesterday", 0.0),
    ],
)
def test_times_are_read_as_the_engine_writes_them(text, seconds):
    assert parse_time(text) == pytest.approx(seconds)


@pytest.mark.parametrize("status", ["running", "paused", "restarting"])
def test_what_lives_has_not_ended(status):
    assert exit_of(state(status), quiet(), out_of_memory=False) is None


@pytest.mark.parametrize("status", ["exited", "dead"])
def test_what_ended_says_when_and_with_which_code(status):
    ended = exit_of(state(status, 3), quiet(), out_of_memory=False)
    assert (ended.reason, ended.code, ended.at) == (ExitReason.Error, 3, 1000.0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, ExitReason.Completed),
        (1, ExitReason.Error),
        (70, ExitReason.Error),
        (128, ExitReason.Error),
        (129, ExitReason.Signal),
        (137, ExitReason.Signal),
        (192, ExitReason.Signal),
        (193, ExitReason.Error),
        (255, ExitReason.Error),
    ],
)
def test_an_exit_code_tells_a_signal_from_an_error(code, reason):
    assert exit_of(state(code=code), quiet(), out_of_memory=False).reason is reason


def test_a_kill_for_memory_is_told_as_such_whatever_the_code():
    assert exit_of(state(code=137), quiet(), out_of_memory=True).reason is ExitReason.OutOfMemory


def test_what_is_being_removed_was_removed_unless_memory_ended_it_before():
    ended = exit_of(state("removing", 137), quiet(), out_of_memory=False)
    assert (ended.reason, ended.code, ended.at) == (ExitReason.Removed, None, 1000.0)
    assert exit_of(state("removing", 137), quiet(), out_of_memory=True).reason is ExitReason.OutOfMemory


def test_what_was_made_but_never_started_is_the_engines_doing():
    ended = exit_of(state("created", at=ZERO), quiet(), out_of_memory=False)
    assert (ended.reason, ended.code) == (ExitReason.Evicted, None)


def reason(outages, at):
    ended = exit_of(
        state(code=137, at=f"1970-01-01T00:{int(at) // 60:02}:{at % 60:06.3f}Z"), outages, out_of_memory=False
    )
    return ended.reason


def test_what_ended_while_the_engine_was_away_or_just_after_was_evicted():
    clock = Time()
    outages = Outages(clock)
    outages.seen()
    clock.now = 1010.0
    outages.lost()
    assert reason(outages, 999.0) is ExitReason.Signal, "it ended while the engine was last seen well"
    assert reason(outages, 1005.0) is ExitReason.Evicted, "between the last answer and the first failure"
    clock.now = 1100.0
    assert reason(outages, 1090.0) is ExitReason.Evicted
    outages.lost()
    outages.seen()
    assert reason(outages, 1100.0 + SETTLING - 1) is ExitReason.Evicted
    assert reason(outages, 1100.0 + SETTLING + 1) is ExitReason.Signal
    clock.now = 1200.0
    outages.seen()
    assert reason(outages, 1050.0) is ExitReason.Evicted, "an end found late is judged by when it was"
    assert reason(outages, 1200.0) is ExitReason.Signal


def test_without_an_outage_nothing_is_evicted():
    assert not Outages().covers(1000.0)
