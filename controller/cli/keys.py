"""`xcore keys`: make, list and revoke keys."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from controller.cli import output
from controller.cli.client import ANSWER_SECONDS, Client
from controller.cli.exits import Exit, Stopped
from controller.cli.output import Brief
from integrations.grants import Role
from xcore.clock import rfc3339

KEYS = "/api/v1/keys"
_COLUMNS = ("ID", "PREFIX", "NAME", "ROLE", "STATE", "PLUGINS", "ACTIONS", "EXPIRES")
_UNITS = {"m": 60, "h": 3600, "d": 86400}

app = typer.Typer(rich_markup_mode=None)
keys = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make, list and revoke keys.")
app.add_typer(keys, name="keys")

Form = Annotated[Brief, typer.Option("-o", "--output", help="How to print it.")]


@app.callback()
def _only_a_group() -> None:
    """Hold the group below."""


@keys.command()
def create(  # noqa: PLR0913, PLR0917  # each option of a command is one
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, to tell it from others.")],
    role: Annotated[Role, typer.Option(help="What its holder is here for.")] = Role.CALLER,
    plugin: Annotated[list[str] | None, typer.Option(help="A plugin it is for; repeat for more.")] = None,
    action: Annotated[list[str] | None, typer.Option(help="An action it may call; repeat for more.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope that actions ask for; repeat for more.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="When it ends: in 30d, 12h, 15m, or at a time such as 2027-01-31T12:00:00Z."),
    ] = None,
    form: Form = "table",
) -> None:
    """Make a key and print it: it is shown this once."""
    limits = {"plugins": plugin, "actions": action, "scopes": scope, "expiresAt": _time(expires)}
    wanted = {"name": name, "role": role.value, **{field: value for field, value in limits.items() if value}}
    with Client() as client:
        made = client.send("POST", KEYS, seconds=ANSWER_SECONDS, json=wanted)
    if form != "table":
        output.data(made, form)
        return
    output.note(f"Key {made['id']} of {name}; it is shown this once:")
    output.line(made["key"])


@keys.command("list")
def list_keys(form: Form = "table") -> None:
    """List all keys, those that have ended too."""
    with Client() as client:
        found = _all(client)
    if form != "table":
        output.data({"items": found}, form)
        return
    if not found:
        output.note("There are no keys but the administrator's first one.")
        return
    output.table(_COLUMNS, [_row(key) for key in found])


@keys.command()
def revoke(
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of keys; `xcore keys list` shows them.")
    ],
    form: Form = "table",
) -> None:
    """Revoke keys: everywhere within 5 s, with what they have under way."""
    with Client() as client:
        ended = [
            client.send("DELETE", f"{KEYS}/{quote(each, safe='')}", seconds=ANSWER_SECONDS) for each in ids
        ]
    if form != "table":
        output.data({"items": ended}, form)
        return
    for key in ended:
        output.line(f"{key['id']} ({key['name']}) is revoked")


def _all(client: Client) -> list[Any]:
    found, after = [], ""
    while True:
        page = client.get(KEYS, limit=500, **({"continue": after} if after else {}))
        found += page["items"]
        after = page["metadata"]["continue"]
        if not after:
            return found


def _row(key: Any) -> list[str]:
    names = [",".join(key[field]) if key[field] is not None else "all" for field in ("plugins", "actions")]
    return [
        *(key[field] for field in ("id", "prefix", "name", "role", "state")),
        *names,
        key["expiresAt"] or "never",
    ]


def _time(said: str | None) -> str | None:
    """A time from now on, or as it was said: the controller judges that."""
    if said is None or "T" in said:
        return said
    match = re.fullmatch(r"([0-9]{1,6})([mhd])", said)
    if match is None:
        raise Stopped(
            Exit.USAGE, "BadUsage", "--expires must be such as 30d, 12h, 15m or 2027-01-31T12:00:00Z"
        )
    return rfc3339(time.time() + int(match[1]) * _UNITS[match[2]])
