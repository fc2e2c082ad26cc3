"""`xcore doctor`: looks at host, controller and plugin, and says what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from controller.cli import output
from controller.cli.exits import Exit
from controller.cli.findings import host_findings
from controller.cli.gather import gather
from controller.cli.hops import hop_findings
from controller.cli.output import Brief
from controller.finding import Finding

app = typer.Typer(rich_markup_mode=None)


@app.command()
def doctor(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A plugin to follow all the way.")] = "",
    config: Annotated[Path | None, typer.Option(help="YAML file with the controller's settings.")] = None,
    form: Annotated[Brief, typer.Option("-o", "--output", help="How to print it.")] = "table",
) -> None:
    """Find out what is wrong with host, controller or plugin."""
    with output.progress("looking around"):
        facts = gather(name, config)
    # A controller in a cluster tells what its sandboxes rest on; nothing of it is on this machine.
    of_cluster = facts.controller.cluster or facts.cluster or ()
    host = [] if facts.controller.cluster else host_findings(facts)
    findings = [*host, *of_cluster, *hop_findings(facts)]
    if form == "json":
        output.data({"findings": [asdict(finding) for finding in findings]})
    else:
        output.table(("CHECK", "RESULT", "FINDING"), _rows(findings))
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(Exit.FAILED)


def _rows(findings: Sequence[Finding]) -> Iterator[Sequence[object]]:
    for finding in findings:
        yield finding.check, finding.level, finding.message
        if finding.advice and finding.level != "ok":
            yield "", "", f"→ {finding.advice}"
