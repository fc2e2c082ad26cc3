#!/usr/bin/env python3
"""Runs the suite of every runtime's promises on all of them and writes what came out: docs/conformance.md."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "conformance.md"
RUNTIMES = {
    "TestSupervisedFake": "fake",
    "TestProcess": "process",
    "TestDocker": "docker",
    "TestKubernetes": "kubernetes",
}
SUITES = ("tests/xcore/test_supervised.py", "tests/conformance")
HEAD = """\
# Conformance

Every runtime keeps the same promises: one suite (`xcore.testing.RuntimeContract`) runs on the engine in memory, on child processes, on a real Docker
Engine and on a real Kubernetes node. `make conformance` runs it and writes this table.

"""


def main() -> int:
    """Exit code 0: every promise is kept by every runtime."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = (sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *SUITES)
        subprocess.run(command, cwd=ROOT, check=False)  # noqa: S603  our own tests
        kept = _read(report)
    PAGE.write_text(HEAD + _table(kept), "utf-8")
    return 0 if all(all(row.get(name) for name in RUNTIMES.values()) for row in kept.values()) else 1


def _read(report: Path) -> dict[str, dict[str, bool]]:
    """Give, by promise and runtime, whether it was kept; only what the contract promises of all of them."""
    kept: dict[str, dict[str, bool]] = defaultdict(dict)
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  our own file
        runtime = RUNTIMES.get(case.get("classname", "").rpartition(".")[2])
        if runtime is not None:
            kept[case.get("name", "")][runtime] = not len(case)
    return {name: row for name, row in kept.items() if len(row) > 1}


def _table(kept: dict[str, dict[str, bool]]) -> str:
    names = list(RUNTIMES.values())
    lines = [f"| Promise | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for promise, row in kept.items():
        cells = [{True: "kept", False: "**broken**", None: "not run"}[row.get(name)] for name in names]
        sentence = promise.removeprefix("test_").replace("_", " ")
        lines.append(f"| {sentence} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
