"""A schedule's times come when its author means them, also when clocks are changed."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from xcore.times import Cron, Every, NoSuchTimes, demand

PARIS = ZoneInfo("Europe/Paris")  # forward on 29 March 2026 at 02:00, back on 25 October at 03:00


def at(text, zone=PARIS, *, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def times(cron, start, count, zone="Europe/Paris"):
    """The next `count` times, as local wall clocks with their offset from UTC in hours."""
    found, now = [], start
    for _ in range(count):
        now = Cron(cron, zone).following(now)
        local = datetime.fromtimestamp(now, ZoneInfo(zone))
        found.append(f"{local:%d %H:%M}{local.utcoffset() / timedelta(hours=1):+g}")
    return found


def test_a_daily_time_follows_the_clocks_of_its_zone():
    assert times("0 4 * * *", at("2026-03-27T12:00"), 3) == ["28 04:00+1", "29 04:00+2", "30 04:00+2"]


def test_a_time_in_the_hour_that_is_left_out_comes_right_after_it():
    assert times("30 2 * * *", at("2026-03-28T00:00"), 3) == ["28 02:30+1", "29 03:00+2", "30 02:30+2"]


def test_a_time_in_the_hour_that_comes_twice_comes_once():
    assert times("30 2 * * *", at("2026-10-24T00:00"), 3) == ["24 02:30+2", "25 02:30+2", "26 02:30+1"]


def test_what_runs_all_day_goes_on_as_real_time_passes():
    """Every half hour is every half hour: none is left out, none doubled, in either night."""
    for start in (at("2026-03-29T00:00"), at("2026-10-25T00:00")):
        now, gaps = start, set()
        for _ in range(12):
            following = Cron("*/30 * * * *", "Europe/Paris").following(now)
            gaps.add(following - now)
            now = following
        assert gaps == {1800.0}


def test_an_interval_is_counted_on_from_the_time_before():
    assert Every(60).following(1000) == 1060
    assert Every(60).following(1000, due=990) == 1050
    assert Every(60).following(1050, due=990) == 1110
    assert Every(60).following(1000, due=2000) == 1060  # a clock that was set back strands nobody


@pytest.mark.parametrize(
    "cron", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "60 * * * *", "* * * * 8", "a b c d e", "@daily", "0 0 ? * *"]
)
def test_a_cron_that_never_fires_is_refused(cron):
    with pytest.raises(NoSuchTimes, match=r"five cron fields|no such time"):
        demand(Cron(cron))


@pytest.mark.parametrize(
    "zone", ["Europe/Atlantis", "../etc/passwd", "/etc/localtime", "", "Europe", "a" * 300]
)
def test_a_time_zone_nobody_knows_is_refused(zone):
    with pytest.raises(NoSuchTimes, match="IANA"):
        demand(Cron("0 4 * * *", zone))


FIELDS = st.tuples(
    st.sampled_from(["*", "*/7", "0", "30", "59", "1,31"]),
    st.sampled_from(["*", "2", "*/5", "0", "1-3", "23"]),
    st.sampled_from(["*", "1", "29", "L"]),
    st.sampled_from(["*", "2", "3", "10", "2-11"]),
    st.sampled_from(["*", "SUN", "1-5", "MON#1"]),
).map(" ".join)
ZONES = st.sampled_from(["UTC", "Europe/Paris", "Europe/Dublin", "America/Havana", "Australia/Lord_Howe"])


@given(FIELDS, ZONES, st.integers(1_700_000_000, 1_900_000_000))
def test_time_never_stands_still(cron, zone, start):
    """Whatever the fields, the zone and the moment: each next time is later than the one before it."""
    now = float(start)
    for _ in range(20):
        following = Cron(cron, zone).following(now)
        assert following > now
        now = following


@given(
    st.floats(10, 1e7),
    st.floats(0, 2e9),
    st.floats(0, 2e9),
)
def test_the_next_of_an_interval_is_within_one_period(seconds, due, now):
    following = Every(seconds).following(now, due)
    assert now < following <= now + seconds * 1.000001 + 1e-3
