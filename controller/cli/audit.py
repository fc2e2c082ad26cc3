"""`xcore audit`: who changed what; and whether the audit itself is whole, judged here from what the controller gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from controller.cli import output
from controller.cli.client import Client
from controller.cli.exits import Exit
from controller.cli.output import Brief
from integrations.chain import Verdict, verify

AUDIT = "/api/v1/audit"
_PAGE = 500
_COLUMNS = ("NUMBER", "AT", "BY", "FROM", "WHAT", "RESULT", "REASON", "REQUEST")

app = typer.Typer(rich_markup_mode=None)


@app.command()
def audit(
    verb: Annotated[
        Literal["list", "verify"],
        typer.Argument(help="list entries, the newest first; or verify all of them."),
    ] = "list",
    limit: Annotated[int, typer.Option(min=1, max=_PAGE, help="How many entries to list.")] = 50,
    by: Annotated[str, typer.Option(help="Only those of the key with this id.")] = "",
    plugin: Annotated[str, typer.Option(help="Only those about this plugin.")] = "",
    form: Annotated[Brief, typer.Option("-o", "--output", help="How to print it.")] = "table",
) -> None:
    """Show who changed what, or verify that nothing of it was changed."""
    with Client() as client:
        if verb == "verify":
            _verify(client, form)
            return
        wanted = {name: value for name, value in (("by", by), ("plugin", plugin)) if value}
        found = client.get(AUDIT, limit=limit, **wanted)
    if form != "table":
        output.data(found, form)
    elif not found["items"]:
        output.note("There is no such entry.")
    else:
        output.table(_COLUMNS, [_row(entry) for entry in found["items"]])


def _verify(client: Client, form: str) -> None:
    with output.progress("verifying the audit"):
        verdict = _judged(client)
        # Its beginning may have been cut off between two pages: then it is whole when it is read again.
        if verdict.problems:
            verdict = _judged(client)
    number, hashed = verdict.newest
    if form != "table":
        told = {
            "entries": verdict.entries,
            "first": verdict.first,
            "head": {"number": number, "hash": hashed},
        }
        output.data({**told, "problems": verdict.problems}, form)
    else:
        for problem in verdict.problems:
            output.line(problem)
        whole = "is not whole" if verdict.problems else "is whole"
        output.line(
            f"the audit {whole}: {verdict.entries} entries; the newest is {number} with hash {hashed}"
        )
    if verdict.problems:
        raise typer.Exit(Exit.FAILED)


def _judged(client: Client) -> Verdict:
    pages = _pages(client)
    first = next(pages)
    head = first["metadata"]["head"]

    def entries() -> Iterator[Any]:
        yield from first["items"]
        for page in pages:
            yield from page["items"]

    return verify(entries(), (head["number"], head["hash"]))


def _pages(client: Client) -> Iterator[Any]:
    after = 0
    while True:
        page = client.get(AUDIT, limit=_PAGE, **{"continue": after})
        yield page
        after = page["metadata"]["continue"]
        if not after:
            return


def _row(entry: Any) -> list[str]:
    what = f"{entry['method']} {entry['path'] or entry['route']}".strip()
    who = entry["by"] or "nobody known"
    result = f"{entry['result']} {entry['status'] or ''}".strip()
    columns = (
        entry["number"],
        entry["at"],
        who,
        entry["address"],
        what,
        result,
        entry["reason"],
        entry["requestId"],
    )
    return [str(column) for column in columns]
