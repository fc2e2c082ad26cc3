"""Whose turn it is, and when: how a task's row changes as its runs begin and end. Pure.

A row stands for one time, `due`, until a run of it ended by itself: a run that is lost with its controller leaves the row
as it was, and is made up for. Times that went by meanwhile are made up for together, by one run. Whoever runs a task holds
a lease and renews it; nobody else begins before it is over, so no two runs of a task overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xcore.times import Times

LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
# A holder that could not renew stops so long before its lease is over: clocks of replicas may differ by that much.
MARGIN_SECONDS = 5.0
# A run that ends its controller each time must not do so for ever.
MAX_INTERRUPTED = 3
FIRST_PAUSE_SECONDS = 5.0
MAX_PAUSE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """`due`: the time that is to be run, `ready`: not before; epoch seconds. `attempts` at it, `interrupted` of them.

    `holder` runs it until `held_until`; "" when nobody does. `by`: who asked for it, "" the clock.
    """

    due: float
    ready: float
    attempts: int = 0
    interrupted: int = 0
    holder: str = ""
    held_until: float = 0.0
    by: str = ""


def first(times: Times, now: float) -> Turn:
    """Of a task that is new, or whose times are others now: it is not run at once."""
    due = times.following(now)
    return Turn(due=due, ready=due)


def is_free(turn: Turn, now: float) -> bool:
    return turn.held_until <= now


def is_ready(turn: Turn, now: float) -> bool:
    return turn.ready <= now and is_free(turn, now)


def asked(turn: Turn, by: str, now: float) -> Turn:
    """Somebody wants it run now."""
    return replace(turn, due=now, ready=now, attempts=0, interrupted=0, by=by)


def begun(turn: Turn, holder: str, now: float) -> Turn:
    return replace(turn, attempts=turn.attempts + 1, holder=holder, held_until=now + LEASE_SECONDS)


def ended(turn: Turn, times: Times, now: float) -> Turn:
    """It is done with, well or not: the next time is waited for."""
    due = times.following(now, turn.due)
    return Turn(due=due, ready=due)


def failed(turn: Turn, times: Times, now: float, *, retries: int, dice: float) -> Turn:
    """It is tried again after a pause, unless its retries are used up or the next time would come first.

    `dice`: from 0 to 1, spreads the pause by a tenth, so that many do not come back at once.
    """
    tried = turn.attempts - turn.interrupted
    again = now + pause(tried, dice)
    if tried > retries or times.following(now, turn.due) <= again:
        return ended(turn, times, now)
    return replace(_let_go(turn), ready=again)


def interrupted(turn: Turn, times: Times, now: float) -> Turn:
    """It did not end by itself: at once again, but not for ever."""
    if turn.interrupted + 1 >= MAX_INTERRUPTED:
        return ended(turn, times, now)
    return replace(_let_go(turn), interrupted=turn.interrupted + 1, ready=now)


def pause(tried: int, dice: float) -> float:
    """Seconds before the attempt after so many: 5, 20, 80, 300."""
    return min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 4.0 ** (tried - 1)) * (0.9 + 0.2 * dice)


def _let_go(turn: Turn) -> Turn:
    return replace(turn, holder="", held_until=0.0)
