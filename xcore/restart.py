"""When an ended instance may start again: back-off and budget. Pure: the clock and the dice are arguments.

The first restart after a healthy spell is immediate; then 1, 2, 4 … 60 s, ± 10 %. Ten healthy minutes reset
the series. The budget counts the restarts inside a window; spent, it holds the plugin or goes on at the longest
delay, as the manifest says. An end that the engine or host caused
is not counted there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xcore.spec import OnExhausted, RestartPolicy, RestartSpec
from xcore.workload import Exit, ExitReason

LONGEST_DELAY = 60.0
HEALTHY_RESET = 600.0
JITTER = 0.1
_FREE = frozenset({ExitReason.Evicted, ExitReason.Removed})


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
        return replace(history, last=ended, next_time=None, held="Exited")
    recent = tuple(at for at in history.recent if at > now - policy.window_seconds)
    if ended.reason not in _FREE:
        recent = (*recent, now)
    before = 0 if healthy >= HEALTHY_RESET else history.consecutive
    spent = len(recent) > policy.max_restarts
    counted = replace(history, recent=recent, consecutive=before + 1, last=ended)
    if spent and policy.on_exhausted is OnExhausted.HOLD:
        return replace(counted, next_time=None, held="RestartBudgetExhausted")
    delay = LONGEST_DELAY if spent else backoff(before)
    jittered = delay * (1 + JITTER * (2 * dice - 1))
    return replace(counted, next_time=now + jittered, count=history.count + 1)


def backoff(restarts: int) -> float:
    """Delay in seconds before the next start, after so many restarts in a row."""
    return 0.0 if restarts == 0 else min(LONGEST_DELAY, 2.0 ** min(restarts - 1, 10))


def _left_alone(ended: Exit, policy: RestartSpec) -> bool:
    if policy.policy is RestartPolicy.NEVER:
        return ended.reason not in _FREE
    return policy.policy is RestartPolicy.ON_FAILURE and ended.reason is ExitReason.Completed
