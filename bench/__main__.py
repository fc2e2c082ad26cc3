"""All programs, or those named: `python -m bench [NAME…]`. One table at the end.

When all of them ran in full, the figures are written into bench/README.md.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from bench import machine, program, readme
from bench.figures import BenchError, Figure

NAMES = ("dataplane", "actions", "neighbours", "streams", "bodies", "coldstart", "memory")


def main() -> int:
    """Exit code 0: everything was measured and every target met."""
    parser = program.parser_of(__doc__ or "")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} [all of them]")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(NAMES)}")
    program.end_in_order()
    figures, failed = _measure(options)
    if figures:
        program.show(figures, options.output)
    if not failed and _in_full(options):
        readme.write(figures, machine.describe())
    return 1 if failed else program.verdict(figures)


def _measure(options: argparse.Namespace) -> tuple[list[Figure], bool]:
    """All that could be measured, and whether something could not."""
    figures: list[Figure] = []
    failed = False
    for name in options.names or NAMES:
        module = importlib.import_module(f"bench.{name}")
        try:
            figures += module.measure(program.effort(options, module.FULL))
        except BenchError as error:
            program.complain(error)
            failed = True
    return figures, failed


def _in_full(options: argparse.Namespace) -> bool:
    return not (options.names or options.quick or options.rounds or options.seconds)


if __name__ == "__main__":
    sys.exit(main())
