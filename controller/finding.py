"""What a doctor found out: about this machine, or about the cluster a controller stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome: a sentence, and what to do about it."""

    check: str
    level: Level
    message: str
    advice: str = ""
