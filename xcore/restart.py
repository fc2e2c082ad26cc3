"""When an ended instance may start again: back-off and budget. Pure: the clock and the dice are arguments.

The first restart after a healthy spell is immediate; then 1, 2, 4 … 60 s, ± 10 %. Ten healthy minutes reset
the series. The budget counts the restarts inside a window; spent, it holds the plugin or goes on at the longest
delay, as the manifest says. An end that the engine or host caused costs neither budget nor back-off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xcore.spec import OnExhausted, RestartPolicy, RestartSpec
from xcore.workload import Exit, ExitReason

LONGEST_DELAY = 60.0
HEALTHY_RESET = 600.0
JITTER = 0.1
FREE = frozenset({ExitReason.Evicted, ExitReason.Removed})
FREE_DELAY = 1.0  # an engine that loses what it just made is not asked without a pause
EXITED = "Exited"
EXHAUSTED = "RestartBudgetExhausted"


@dataclass(frozen=True, slots=True)
class Restarts:
    """What is remembered of a plugin's ends; times are epoch seconds. `held`: no further start, and why."""

    count: int = 0
    recent: tuple[float, ...] = ()
    consecutive: int = 0
    last: Exit | None = None
    next_time: float | None = None
    held: str = ""

    def in_window(self, now: float, window: float) -> int:
        return sum(1 for at in self.recent if at > now - window)


def record(history: Restarts, ended: Exit, policy: RestartSpec, *, healthy: float, dice: float) -> Restarts:
    """Account for one end. `healthy`: how long it had been ready, seconds; `dice`: 0..1 for the jitter."""
    now = ended.at
    if _left_alone(ended, policy):
        return replace(history, last=ended, next_time=None, held=EXITED)
    before = 0 if healthy >= HEALTHY_RESET else history.consecutive
    if ended.reason in FREE:
        again = now if ended.served else now + FREE_DELAY
        restarts = history.count + 1
        return replace(history, last=ended, consecutive=before, next_time=again, count=restarts, held="")
    recent = (*(at for at in history.recent if at > now - policy.window_seconds), now)
    spent = len(recent) > policy.max_restarts
    counted = replace(history, recent=recent, consecutive=before + 1, last=ended, held="")
    if spent and policy.on_exhausted is OnExhausted.HOLD:
        return replace(counted, next_time=None, held=EXHAUSTED)
    delay = LONGEST_DELAY if spent else backoff(before)
    jittered = delay * (1 + JITTER * (2 * dice - 1))
    return replace(counted, next_time=now + jittered, count=history.count + 1)


def resumed(history: Restarts, now: float) -> Restarts:
    """Take up what an earlier controller wrote: a wall clock set back meanwhile must not hold a plugin for long."""
    if history.next_time is None:
        return history
    return replace(history, next_time=min(history.next_time, now + LONGEST_DELAY * (1 + JITTER)))


def forgiven(history: Restarts) -> Restarts:
    """Forget what was spent; what was counted and how it last ended stay."""
    return replace(history, held="", next_time=None, consecutive=0, recent=())


def backoff(restarts: int) -> float:
    """Delay in seconds before the next start, after so many restarts in a row."""
    return 0.0 if restarts == 0 else min(LONGEST_DELAY, 2.0 ** min(restarts - 1, 10))


def _left_alone(ended: Exit, policy: RestartSpec) -> bool:
    if policy.policy is RestartPolicy.NEVER:
        return ended.reason not in FREE
    return policy.policy is RestartPolicy.ON_FAILURE and ended.reason is ExitReason.Completed
