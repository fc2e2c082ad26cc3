"""What all the programs share: their options, their output, and how they end.

Exit codes: 0 every target met, 1 a target missed or something needed is missing (one sentence on stderr).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from bench import machine
from bench.figures import BenchError, Effort, Figure
from bench.table import as_text

Measure = Callable[[Effort], Sequence[Figure]]
QUICK = Effort(rounds=3, seconds=2.0)


def run(measure: Measure, full: Effort, description: str) -> int:
    """Run one program from its command line."""
    parser = parser_of(description)
    options = parser.parse_args()
    end_in_order()
    try:
        figures = measure(effort(options, full))
    except BenchError as error:
        return complain(error)
    show(figures, options.output)
    return verdict(figures)


def parser_of(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print")
    parser.add_argument("--rounds", type=int, help="rounds of every side")
    parser.add_argument("--seconds", type=float, help="seconds of load in each round")
    parser.add_argument("--quick", action="store_true", help="few short rounds, to see that it works")
    return parser


def effort(options: argparse.Namespace, full: Effort) -> Effort:
    chosen = QUICK if options.quick else full
    wanted = Effort(options.rounds or chosen.rounds, options.seconds or chosen.seconds)
    if not (1 <= wanted.rounds <= 100 and 0 <= wanted.seconds <= 60):
        raise BenchError("at most 100 rounds of at most 60 seconds are measured")
    return wanted


def show(figures: Sequence[Figure], output: str) -> None:
    if output == "json":
        found = {"machine": machine.describe(), "figures": [figure.document() for figure in figures]}
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        print(as_text(figures))


def verdict(figures: Sequence[Figure]) -> int:
    return int(any(figure.passed is False for figure in figures))


def complain(error: BenchError) -> int:
    progress(f"error: {error}")
    return 1


def progress(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def end_in_order() -> None:
    """Make SIGTERM unwind like Ctrl-C does: whatever was started is ended."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
