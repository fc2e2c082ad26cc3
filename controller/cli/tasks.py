"""`xcore tasks`: what is done by the clock, how it went, and doing it now."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from controller.cli import output
from controller.cli.client import Client
from controller.cli.exits import Exit, Stopped
from controller.cli.plugins import POLL_SECONDS, Form, Timeout

TASKS = "/api/v1/tasks"

app = typer.Typer(rich_markup_mode=None)


@app.command()
def tasks(
    verb: Annotated[
        Literal["list", "runs", "run"], typer.Argument(help="list; runs TASK; or run TASK, now.")
    ] = "list",
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="Name of a task.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end of the run.")] = True,
    timeout: Timeout = 600,
    form: Form = "table",
) -> None:
    """Show what is done by the clock and how it went, or have it done now."""
    if (verb == "list") != (task is None):
        rule = "takes no TASK" if verb == "list" else "needs the name of a TASK"
        raise Stopped(Exit.USAGE, "BadUsage", f"xcore tasks {verb} {rule}")
    with Client() as client:
        if task is None:
            _list(client, form)
        elif verb == "runs":
            _runs(client, task, form)
        else:
            _run(client, task, form, timeout if wait else None)


def _list(client: Client, form: str) -> None:
    items: list[Any] = []
    after: dict[str, str | float] = {}
    while True:
        page = client.get(TASKS, **after)
        items += page["items"]
        after = {"continue": page["metadata"]["continue"]}
        if not after["continue"]:
            break
    if form == "json":
        output.data({"items": items})
        return
    rows = [
        (each["id"], each["times"], each["state"], each["nextTime"] or "", *_last(each["lastRun"]))
        for each in items
    ]
    output.table(("TASK", "TIMES", "STATE", "NEXT", "LAST", "ENDED"), rows)


def _runs(client: Client, task: str, form: str) -> None:
    found = client.get(_path(task, "runs"))
    if form == "json":
        output.data(found)
        return
    rows = [
        (
            *(each[key] for key in ("run", "state", "due", "started")),
            _seconds(each),
            each["attempt"],
            _said(each),
        )
        for each in found["items"]
    ]
    output.table(("RUN", "STATE", "DUE", "STARTED", "SECONDS", "ATTEMPT", "SAID"), rows)


def _run(client: Client, task: str, form: str, seconds: float | None) -> None:
    before = client.get(_path(task))["lastRun"]
    client.post(_path(task, "run"))
    if seconds is None:
        output.line(f"{task}: asked to run")
        return
    with output.progress(f"running {task}"):
        run = _ended(client, task, before["run"] if before else 0, seconds)
    if form == "json":
        output.data(run)
    else:
        output.line(f"{task}: {run['state']}" + (f": {_said(run)}" if _said(run) else ""))
    if run["state"] != "Succeeded":
        raise typer.Exit(Exit.FAILED)


def _ended(client: Client, task: str, before: int, seconds: float) -> Any:
    """Wait for the end of the first run after `before`."""
    deadline = time.monotonic() + seconds
    while True:
        runs = [each for each in client.get(_path(task, "runs"))["items"] if each["run"] > before]
        if runs and runs[-1]["ended"] is not None:
            return runs[-1]
        if time.monotonic() >= deadline:
            raise Stopped(Exit.FAILED, "WaitTimeout", f"{task} has not ended after {seconds:g} s; it goes on")
        time.sleep(POLL_SECONDS)


def _path(task: str, *rest: str) -> str:
    return "/".join([TASKS, quote(task, safe=""), *rest])


def _last(run: Any) -> tuple[str, str]:
    return (run["state"], run["ended"] or "") if run else ("", "")


def _seconds(run: Any) -> str:
    return "" if run["seconds"] is None else f"{run['seconds']:g}"


def _said(run: Any) -> str:
    told = f"{run['reason']} {run['detail']}" if run["reason"] or run["detail"] else run["output"]
    return str(told).strip().partition("\n")[0][:120]
