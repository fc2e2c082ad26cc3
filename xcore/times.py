"""When something that repeats is due: by cron in a time zone, or every so many seconds. Pure.

Cron is read as Debian's cron reads it. Where clocks go forward, what falls into the hour that is left out comes right after
it; where they go back, a time that names its hours comes once, and one that runs all day goes on as real time passes. A
time is always later than the one before it, so that no list of times stands still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

SEARCHED_YEARS = 50  # how far cronsim looks for the next time


class NoSuchTimes(ValueError):
    """Says, after "must", what is allowed."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields, and the IANA time zone whose clocks they are read on."""

    expression: str
    time_zone: str = "UTC"

    def following(self, now: float, due: float | None = None) -> float:  # noqa: ARG002  clocks alone say when
        """The first time after `now`, epoch seconds; raises NoSuchTimes."""
        try:
            start = datetime.fromtimestamp(now, zone(self.time_zone))
            return next(CronSim(self.expression, start)).timestamp()
        except CronSimError as error:
            raise NoSuchTimes(f"be five cron fields, such as 0 4 * * 1-5 ({str(error).lower()})") from None
        except StopIteration:
            raise NoSuchTimes(f"come about: there is no such time within {SEARCHED_YEARS} years") from None

    def __str__(self) -> str:
        return f"{self.expression} ({self.time_zone})"


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed number of real seconds, counted on from the time before: a run that took long shifts nothing."""

    seconds: float

    def following(self, now: float, due: float | None = None) -> float:
        """The first time after `now` that is a whole number of periods after `due`; one period from now without it."""
        if due is None or due > now:
            return now + self.seconds
        return due + self.seconds * (math.floor((now - due) / self.seconds) + 1)

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"


Times = Cron | Every


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """A time zone by its name; raises NoSuchTimes."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NoSuchTimes("be an IANA time zone, such as UTC or Europe/Paris") from None


def demand(times: Times, *, now: float | None = None) -> None:
    """Raise NoSuchTimes where they never come."""
    times.following(datetime.now(UTC).timestamp() if now is None else now)
