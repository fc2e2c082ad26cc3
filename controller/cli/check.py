"""`xcore check`: reads a plugin folder, then has it imported and started in a sandbox, never in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.exits import Exit, Stopped
from controller.cli.local import Complaint, complaints, manifests_in
from controller.cli.older import judge, old_folders, show
from controller.cli.output import Brief
from controller.cli.signatures import signature, warnings_of
from integrations.legacy.draft import Said
from xcore.bundle import MANIFEST
from xcore.instance_spec import Isolation
from xcore.manifest import Manifest, parse
from xcore.testing.alone import Alone, NotServed, NotStarted, Runtime
from xcore.testing.frames import last_traceback

app = typer.Typer(rich_markup_mode=None)

WHERE = {"docker": "in a Docker container", "process": "in a child process"}


@dataclass(slots=True)
class Report:
    """What is known of one manifest: what must be mended, how it came up, what is only odd.

    Of a folder of the old system: what becomes of its fields.
    """

    manifest: str
    problems: list[Complaint]
    name: str = ""
    runtime: str = ""
    actions: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    traceback: list[str] = field(default_factory=list)
    old: list[Said] = field(default_factory=list)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Plugin folder, or a manifest.")],
    static: Annotated[bool, typer.Option("--static", help="Only read it: nothing of it is run.")] = False,
    runtime: Annotated[
        Runtime, typer.Option(help="Where it is started; auto: docker where an engine answers, else process.")
    ] = "auto",
    form: Annotated[Brief, typer.Option("-o", "--output", help="How to print it.")] = "table",
) -> None:
    """Check a plugin folder: its manifest, its files, and that it starts in a sandbox."""
    reports = list(_reports(path, None if static else runtime))
    if not reports:
        raise Stopped(Exit.NOT_FOUND, "NotFound", f"there is no {MANIFEST} in {path}")
    if form == "json":
        problems = [problem for report in reports for problem in report.problems]
        output.data(
            {"problems": [asdict(p) for p in problems], "plugins": [asdict(report) for report in reports]}
        )
    else:
        for report in reports:
            _show(report)
    if any(report.problems for report in reports):
        raise typer.Exit(Exit.FAILED)


def _reports(path: Path, runtime: Runtime | None) -> Iterator[Report]:
    """Report on everything there; what can be started is, unless there is no runtime."""
    old = old_folders(path)
    for folder in old:
        manifest, said, problems = judge(folder)
        report = Report(str(folder), problems, old=list(said))
        if runtime is not None and manifest is not None:
            _try(report, folder, manifest, runtime)
        yield report
    for file in manifests_in(path):
        if file.parent in old:
            continue
        report = Report(str(file), list(complaints(file)))
        if runtime is not None and not report.problems and file.name == MANIFEST:
            _try(report, file.parent, parse(file.read_bytes(), name=MANIFEST), runtime)
        yield report


def _try(report: Report, folder: Path, manifest: Manifest, runtime: Runtime) -> None:
    """Start it on a controller of its own and note what it says of itself."""
    report.name = manifest.metadata.name
    if manifest.spec.entrypoint is None:
        return  # an image brings no code of ours: there is nothing to import
    try:
        with (
            output.progress(f"starting {report.name}"),
            Alone(folder, name=report.name, runtime=runtime) as one,
        ):
            report.runtime = one.ready()["status"]["runtime"]
            report.actions = _actions(one)
            report.warnings = [*_odd(manifest, report.actions), *one.warnings()]
    except NotServed as error:
        said = ": ".join(filter(None, (error.reason, error.detail)))
        report.problems.append(Complaint(report.manifest, 0, "", f"does not start: {said}"))
        report.traceback = last_traceback(error.output, folder)
    except NotStarted as error:
        raise Stopped(Exit.UNREACHABLE, error.reason, error.detail) from None


def _actions(one: Alone) -> list[dict[str, Any]]:
    """Give its description's actions; an application has none."""
    answer = one.http.get(f"/app/{one.name}")
    if answer.headers.get("content-type", "").partition(";")[0] != "application/json":
        return []
    told = answer.json()
    return list(told["actions"]) if isinstance(told, dict) and told.get("kind") == "actions" else []


def _odd(manifest: Manifest, actions: list[dict[str, Any]]) -> Iterator[str]:
    if manifest.spec.isolation is Isolation.TRUSTED:
        yield "spec.isolation is Trusted: it was tried in a sandbox, and runs in the controller where XCORE_TRUSTED names it"
    names = {action["name"] for action in actions}
    for declared in manifest.spec.actions:
        if actions and declared.name not in names:
            yield f"spec.actions names {declared.name}, which is no action of the code"
    for action in actions:
        yield from warnings_of(action)


def _show(report: Report) -> None:
    if report.old:
        show(report.old)
    for problem in report.problems:
        output.line(problem)
    for line in report.traceback:
        output.line(line)
    if report.problems:
        return
    output.line(f"{report.manifest}: ok")
    if report.runtime:
        kind = "" if report.actions else "; it is an application with routes of its own"
        kind = "; it answers as it did in the old system" if report.old else kind
        output.line(f"{report.name} starts {WHERE[report.runtime]}{kind}")
    if report.actions:
        output.table(("ACTION", "METHODS", "WHAT"), [_row(action) for action in report.actions])
    for warning in report.warnings:
        output.note(f"warning: {warning}")


def _row(action: Mapping[str, Any]) -> tuple[str, str, str]:
    return signature(action), " ".join(action["methods"]), action["description"].partition("\n")[0]
