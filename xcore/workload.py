"""The values that travel between what is wanted, the engines and the plan. All frozen; none knows an engine."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from xcore.endpoint import Endpoint
from xcore.manifest import Manifest


class ExitReason(enum.StrEnum):
    """Why an instance ended; the strings are the API's."""

    Completed = "Completed"  # exit code 0
    Error = "Error"  # another exit code
    Signal = "Signal"  # killed by a signal that we did not send
    OutOfMemory = "OutOfMemory"
    ProbeFailed = "ProbeFailed"  # ended by us: it hung, or never came up
    Evicted = "Evicted"  # the engine or host went down under it
    Removed = "Removed"  # it disappeared behind our back


@dataclass(frozen=True, slots=True)
class Exit:
    """One end: `code` as a shell would tell it (128 + signal), `at` epoch seconds, `message` the last log line."""

    reason: ExitReason
    code: int | None
    at: float
    message: str = ""
    served: bool = True  # it had been ready before it ended


class Phase(enum.StrEnum):
    """Where a living instance stands, as its probes tell; or that it is on its way out."""

    Starting = "Starting"
    Ready = "Ready"
    Unready = "Unready"
    Failed = "Failed"  # liveness or start-up window: it has to go
    Ending = "Ending"  # told to stop although nothing is wrong with it; it gets no new requests


@dataclass(frozen=True, slots=True)
class Origin:
    """The resource in a cluster that declares a plugin: it owns what is made for it."""

    namespace: str
    uid: str


@dataclass(frozen=True, slots=True)
class Workload:
    """One plugin as it is to run: the accepted manifest with the snapshot of its code, or with the id of its image.

    `site`: its packed dependencies.
    """

    manifest: Manifest
    revision: str
    generation: int
    code: Path | None
    site: Path | None = None
    image: str = ""
    origin: Origin | None = None
    proof: bool = False  # no requests before its network was seen to be closed

    @property
    def name(self) -> str:
        return self.manifest.metadata.name

    @property
    def directories(self) -> list[Path]:
        """Give what of it lies in the state directory, each named by its content."""
        return [directory for directory in (self.code, self.site) if directory is not None]


@dataclass(frozen=True, slots=True)
class Instance:
    """One running (or just ended) copy of a plugin, as an engine found it. `started_at`: epoch seconds."""

    id: str
    plugin: str
    revision: str
    generation: int
    started_at: float
    endpoint: Endpoint | None
    exit: Exit | None = None
    oom: bool = False  # a process of it was killed for memory, although the instance lives
    phase: Phase = Phase.Starting
    message: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line a plugin wrote: `time` RFC 3339 or empty, control characters escaped, at most 8 KiB."""

    time: str
    text: str
    instance: str
