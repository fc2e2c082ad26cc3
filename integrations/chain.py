"""The audit's chain: each entry holds the hash of the one before, so that none can be changed or taken out unseen. Pure.

A hash is SHA-256 over an entry as canonical JSON: keys in order, no blanks, UTF-8. Entries that became too old are cut off at the
beginning; one that says so (`through`, `hash`) is a part of the chain itself, and stands for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

START = "0" * 64  # what the first entry has before it
MAX_PROBLEMS = 20
Entry = Mapping[str, Any]


def canonical(entry: Entry) -> str:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """The hash of an entry in its canonical form."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True)
class Verdict:
    """What became of looking at a chain. `newest`: number and hash of its end, to be kept elsewhere and compared."""

    entries: int = 0
    first: int = 0
    newest: tuple[int, str] = (0, START)
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def verify(told: Iterable[Entry], head: tuple[int, str]) -> Verdict:
    """Judge entries with their `hash`, the newest first. `head`: number and hash that the chain is said to end with."""
    verdict = Verdict()
    expected: tuple[int, str] | None = None
    cut: tuple[int, str] | None = None
    for each in told:
        entry = {name: value for name, value in each.items() if name != "hash"}
        number, hashed = entry["number"], digest(canonical(entry))
        if hashed != each["hash"]:
            verdict.add(f"entry {number} was changed: its hash is not that of what it says")
        if expected is None:
            verdict.newest = (number, each["hash"])
            if verdict.newest != head and number <= head[0]:
                verdict.add(f"the chain ends with entry {number}, and not with {head[0]} as it is said to")
        elif expected != (number, each["hash"]):
            verdict.add(f"between entries {number} and {expected[0] + 1} the chain is broken")
        if cut is None and "through" in entry:
            cut = (entry["through"], entry["cut"])
        expected = (number - 1, entry["previous"])
        verdict.entries, verdict.first = verdict.entries + 1, number
    if expected is None:
        if head[0]:
            verdict.add(f"there is no entry, and the chain is said to end with {head[0]}")
    elif expected not in {(0, START), cut}:
        verdict.add(f"what was before entry {verdict.first} is gone, and no entry says that it was cut off")
    return verdict
