"""The `xcore` command. Each command's module is imported when that command runs, never for another's sake.

Exit codes are those of `controller.cli.exits`. Connects by `XCORE_URL` and `XCORE_KEY`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from controller.cli import output
from controller.cli.exits import Stopped

DISTRIBUTION = "xcore-platform"

# The commands in the order of the help: module, and what the help says.
COMMANDS = {
    "serve": ("serve", "Run the controller until it is told to stop."),
    "new": ("new", "Make a plugin folder with a test that passes."),
    "dev": ("dev", "Serve a plugin folder while you work on it: reload on save, tracebacks here."),
    "test": ("test", "Run a plugin's own tests against it, served in a sandbox."),
    "check": ("check", "Check a plugin folder: its manifest, its files, and that it starts in a sandbox."),
    "migrate": ("migrate", "Write today's manifest for a plugin of the old system; its code stays as it is."),
    "pack": ("pack", "Lock a plugin's dependencies and unpack them, ready to be mounted into a sandbox."),
    "schema": ("local", "Print the JSON Schema of the Plugin resource."),
    "apply": ("send", "Send a plugin, or what changed of it."),
    "delete": ("send", "Remove plugins that were sent; one in a folder goes with its folder."),
    "revisions": ("send", "Show the kept revisions of a plugin that was sent."),
    "rollback": ("send", "Go back to a kept revision of a plugin that was sent."),
    "get": ("plugins", "Show one plugin, or all."),
    "call": ("plugins", "Call an action of a plugin and print its answer."),
    "logs": ("streams", "Print what a plugin wrote."),
    "events": ("streams", "Print what happened to one plugin, or to all."),
    "restart": ("plugins", "Replace a plugin's instance by a new one."),
    "suspend": ("plugins", "Stop a plugin and keep it stopped."),
    "resume": ("plugins", "Let a suspended plugin run again."),
    "wait": ("plugins", "Wait until a plugin's condition is true."),
    "db": ("db", "Upgrade or check the database, back it up, or go back to a backup."),
    "tasks": ("tasks", "Show what is done by the clock and how it went, or have it done now."),
    "keys": ("keys", "Make, list and revoke keys."),
    "audit": ("audit", "Show who changed what, or verify that nothing of it was changed."),
    "doctor": ("doctor", "Find out what is wrong with host, controller or plugin."),
}


class _Lazy(TyperGroup):
    """Knows of each command what the help lists; loads it when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, text) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=text, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(str(name)), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Stopped as stopped:
            output.complain(stopped)
            raise typer.Exit(stopped.code) from None


def load_command(name: str) -> Any:
    """The command itself, from its module's `app`."""
    module = importlib.import_module(f"{__name__}.{COMMANDS[name][0]}")
    return typer.main.get_group(module.app).commands[name]


app = typer.Typer(
    name="xcore",
    cls=_Lazy,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.line(importlib.metadata.version(DISTRIBUTION))
        raise typer.Exit


@app.callback()
def _xcore(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run plugins safely, and look after them. XCORE_URL and XCORE_KEY say which controller is asked.

    Exit codes: 0 done, 1 the thing failed, 2 bad usage, 3 not found, 4 refused, 5 unreachable.
    """


def main() -> None:
    app(prog_name="xcore")
