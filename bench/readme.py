"""Keeps the last figures in `bench/README.md`, between two markers; the rest of the page is nobody's but its authors'."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.figures import BenchError, Figure
from bench.table import as_markdown

README = Path(__file__).with_name("README.md")
BEGIN = "<!-- figures: begin (written by `make bench`) -->"
END = "<!-- figures: end -->"


def block(figures: Sequence[Figure], machine: Mapping[str, str], day: dt.date) -> str:
    """The text between the markers."""
    told = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"Measured on {day.isoformat()}: {told}.\n\n{as_markdown(figures)}"


def replace(page: str, content: str) -> str:
    """The page with other content between its markers; raises BenchError when it has not exactly one pair."""
    before, begin, rest = page.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end or BEGIN in old + after or END in before + after:
        raise BenchError(f"{README.name} must hold the markers of its figures once, in order")
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def write(figures: Sequence[Figure], machine: Mapping[str, str]) -> None:
    today = dt.datetime.now(dt.UTC).date()
    README.write_text(replace(README.read_text("utf-8"), block(figures, machine, today)), "utf-8")
