"""Commands that may go on: `logs` and `events`, both with `-f`. Ctrl-C ends them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import EVENTS, Client, plugin_path
from controller.cli.exits import Exit, Stopped
from controller.cli.output import Brief
from controller.cli.plugins import Form, Name

_SHOWN_APART = frozenset({"id", "kind", "plugin", "at"})

app = typer.Typer(rich_markup_mode=None)

Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes next.")]


@app.command()
def logs(
    name: Name,
    follow: Follow = False,
    lines: Annotated[int, typer.Option(min=1, max=10_000, help="The last so many lines first.")] = 200,
    form: Form = "table",
) -> None:
    """Print what a plugin wrote."""
    accept = "application/json" if form == "json" else "text/plain"
    params: dict[str, str | float] = {"lines": lines, "follow": "true" if follow else "false"}
    with (
        Client() as client,
        client.stream(plugin_path(name, "logs"), headers={"Accept": accept}, **params) as response,
    ):
        output.copy(response.iter_bytes(), is_json=False)


@app.command()
def events(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of a plugin; else all.")] = None,
    follow: Follow = False,
    lines: Annotated[int, typer.Option(min=1, max=500, help="The latest so many.")] = 100,
    kind: Annotated[str | None, typer.Option(help="Only of this kind, such as StatusChanged.")] = None,
    form: Form = "table",
) -> None:
    """Print what happened to one plugin, or to all."""
    path = plugin_path(name, "events") if name is not None else EVENTS
    only = {"kind": kind} if kind is not None else {}
    with Client() as client:
        known = client.get(path, limit=lines, **only)["items"][::-1]
        if not follow:
            _show_all(known, form)
            return
        for event in known:
            _show(event, form)
        last = str(known[-1]["id"]) if known else "0"
        headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
        with client.stream(path, headers=headers, **only) as response:
            for event in server_sent(response.iter_lines()):
                _show(event, form)
    raise Stopped(Exit.UNREACHABLE, "Unreachable", "the controller ended the stream")


def server_sent(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects in a stream of server-sent events (WHATWG HTML, section 9.2)."""
    collected: list[str] = []
    for line in lines:
        field, _, value = line.partition(":")
        if field == "data":
            collected.append(value.removeprefix(" "))
        elif not line and collected:
            event = json.loads("\n".join(collected))
            collected = []
            if isinstance(event, dict):
                yield event


def _show_all(items: list[Mapping[str, Any]], form: Brief) -> None:
    if form == "json":
        output.data({"items": items})
    else:
        output.table(("AT", "PLUGIN", "EVENT", "DETAIL"), [_cells(event) for event in items])


def _show(event: Mapping[str, Any], form: Brief) -> None:
    if form == "json":
        output.json_line(event)
    else:
        output.line("  ".join(str(cell) for cell in _cells(event)))


def _cells(event: Mapping[str, Any]) -> list[object]:
    rest = {key: value for key, value in event.items() if key not in _SHOWN_APART and value is not None}
    changes = [f"{c['type']}={c['status']} ({c['reason']})" for c in rest.pop("conditions", ())]
    if restarts := rest.pop("restarts", None):
        changes.append(f"restarts={restarts['count']} ({restarts['lastReason']})")
    detail = " ".join([*changes, *(f"{key}={value}" for key, value in rest.items())])
    return [event.get("at", ""), event.get("plugin", ""), event.get("kind", ""), detail]
