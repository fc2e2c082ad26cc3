"""A call that is answered later: its states, and what becomes of it after each attempt. Pure.

It is sent at least once: an attempt that was lost with its controller, and one that failed in a way that time may mend, is made
again, with the same Idempotency-Key. When the attempts are used up it is a dead letter, which a person may have sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from integrations.tasks.calling import Sent, Told
from integrations.tasks.task import Outcome, State
from integrations.tasks.turn import MAX_INTERRUPTED, pause
from xcore.errors import NotFound, XcoreError

MAX_ATTEMPTS = 5
MAX_BODY = 256 * 1024
MAX_UNFINISHED = 1000
MAX_OF_PLUGIN = 250


class CallState(StrEnum):
    QUEUED = "Queued"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DEAD = "Dead"


UNFINISHED: Sequence[CallState] = (CallState.QUEUED, CallState.RUNNING)


class CallNotFound(NotFound):
    reason = "CallNotFound"


class QueueFull(XcoreError):
    reason = "QueueFull"
    component = "plugin"


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants done. `caller`: their key's id; `key`: theirs, or "" for one of ours; `seconds`: of each attempt."""

    caller: str
    key: str
    plugin: str
    action: str
    sent: Sent
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state after an attempt; `ready`: when it is made again, of one that is Queued. `interrupted`: so many were."""

    state: CallState
    ready: float
    interrupted: int
    reason: str = ""
    detail: str = ""


class Tally(NamedTuple):
    """So many attempts have begun, and so many of them did not end by themselves."""

    attempts: int
    interrupted: int


def judge(outcome: Outcome, told: Told | None, tally: Tally, *, now: float, dice: float) -> Verdict:
    """After an attempt that ended so; `told`: the answer, where there was one. `dice`: from 0 to 1."""
    attempts, interrupted = tally
    if outcome.state is State.SUCCEEDED:
        return Verdict(CallState.SUCCEEDED, now, interrupted)
    if outcome.state is State.INTERRUPTED:
        interrupted += 1
        state = CallState.DEAD if interrupted >= MAX_INTERRUPTED else CallState.QUEUED
        return Verdict(state, now, interrupted, "Interrupted", outcome.detail)
    tried = attempts - interrupted
    if told is not None and told.final:
        state = CallState.FAILED
    else:
        state = CallState.DEAD if tried >= MAX_ATTEMPTS else CallState.QUEUED
    return Verdict(state, now + pause(max(1, tried), dice), interrupted, outcome.reason, outcome.detail)
