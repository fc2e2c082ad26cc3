"""What a task is, what a run of it is told, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from integrations.tasks.calling import MAX_DETAIL, Told
from integrations.telling import clean
from xcore.errors import NotFound, XcoreError
from xcore.times import Times

MAX_OUTPUT = 4096  # characters
ERROR_OF_OURS = "an error of the controller; it is in its log"


class State(StrEnum):
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INTERRUPTED = "Interrupted"


class TaskNotFound(NotFound):
    reason = "TaskNotFound"


class RunFailed(XcoreError):
    """A plugin's action, called by the clock, did not do what it was to do."""

    component = "plugin"

    def __init__(self, told: Told) -> None:
        self.reason, detail = told.failure
        super().__init__(detail)
        self.final = told.final


@dataclass(frozen=True, slots=True)
class Run:
    """What a run knows of itself. `stopping` is set when the controller is to end: it has some seconds then, not more.

    `key` is the same for every attempt at the same time of the same task.
    """

    key: str
    stopping: asyncio.Event


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that has begun: it is ours until its lease is over. `run`: its number."""

    id: str
    run: int
    due: float
    until: float


class Job(Protocol):
    """What can be run: `do` gives its output or raises XcoreError; it is cancelled after `timeout` seconds."""

    @property
    def id(self) -> str: ...

    @property
    def timeout(self) -> float: ...

    @property
    def do(self) -> Callable[[Run], Coroutine[Any, Any, str]]: ...


@dataclass(frozen=True, slots=True)
class Task:
    """A job that repeats.

    `plugin`, `action`: of a schedule; "" of what is built in. `paused`: its plugin is suspended.
    """

    id: str
    title: str
    times: Times
    timeout: float
    do: Callable[[Run], Coroutine[Any, Any, str]]
    retries: int = 0
    plugin: str = ""
    action: str = ""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `final`: the same again would end the same. `seconds`: what it took, as the scheduler saw it."""

    state: State
    output: str = ""
    reason: str = ""
    detail: str = ""
    final: bool = False
    seconds: float = 0.0


INTERRUPTED = Outcome(State.INTERRUPTED, detail="the controller ended before it did")
REMOVED = Outcome(
    State.INTERRUPTED, detail="its plugin or schedule was removed, or is another controller's now"
)
LOST = Outcome(State.INTERRUPTED, detail="its controller was lost, or could not reach the database in time")


def outcome_of(work: asyncio.Task[str]) -> Outcome:
    """Read a run that has ended by itself. An error that is none of ours to raise has to be logged by the caller."""
    error = work.exception()
    if error is None:
        return Outcome(State.SUCCEEDED, _bounded(work.result(), MAX_OUTPUT))
    if isinstance(error, XcoreError):
        final = isinstance(error, RunFailed) and error.final
        return Outcome(
            State.FAILED, reason=error.reason, detail=_bounded(error.detail, MAX_DETAIL), final=final
        )
    return Outcome(State.FAILED, reason="Internal", detail=ERROR_OF_OURS)


def overrun(seconds: float) -> Outcome:
    return Outcome(State.FAILED, reason="DurationExceeded", detail=f"it took over {seconds:g} s")


def _bounded(text: str, most: int) -> str:
    """All that a plugin says of its run comes in here."""
    return clean(text if len(text) <= most else text[: most - 1] + "…")
