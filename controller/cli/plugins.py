"""Commands about plugins that end with an answer: `get`, `call`, `restart`, `suspend`, `resume`, `wait`."""

from __future__ import annotations

import contextlib
import difflib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from controller.cli import output
from controller.cli.client import ANSWER_SECONDS, PLUGINS, Client, plugin_path, problem_in
from controller.cli.exits import Exit, Stopped, code_for
from controller.cli.output import Brief, Format

# A folder that was put there just now may not have been seen yet.
UNHEARD_SECONDS = 5.0
POLL_SECONDS = 0.5
CONDITIONS = (
    *("Ready", "Accepted", "ResolvedRefs", "ImageVerified", "Programmed", "NetworkIsolated"),
    *("Progressing", "Active"),
)
_COLUMNS = ("NAME", "READY", "REASON", "REPLICAS", "RESTARTS", "VERSION")
_WIDE = ("ENDPOINT", "RUNTIME", "IMAGE", "REVISION", "RATING", "ISOLATED")

app = typer.Typer(rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the plugin.")]
Form = Annotated[Brief, typer.Option("-o", "--output", help="How to print it.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is Ready.")]
Timeout = Annotated[float, typer.Option(min=0.1, max=600, help="Longest wait, in seconds.")]


@app.command()
def get(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of a plugin; else all.")] = None,
    form: Annotated[Format, typer.Option("-o", "--output", help="How to print it.")] = "table",
) -> None:
    """Show one plugin, or all."""
    with Client() as client:
        found = client.get(plugin_path(name)) if name is not None else _all(client)
    if form in {"json", "yaml"}:
        output.data(found, form)
        return
    plugins = [found] if name is not None else found["items"]
    if not plugins:
        output.note("There are no plugins.")
        return
    wide = form == "wide"
    output.table(_COLUMNS + (_WIDE if wide else ()), [_row(plugin, wide=wide) for plugin in plugins])
    if name is not None:
        output.line("")
        _show_conditions(found)


@app.command()
def call(
    name: Name,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Name of the action.")],
    arguments: Annotated[
        str | None, typer.Argument(metavar="[JSON]", help="Its arguments, as a JSON object.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="@FILE|-", help="Body from a file, or from standard input.")
    ] = None,
    content_type: Annotated[str, typer.Option(help="What the body is.")] = "application/json",
) -> None:
    """Call an action of a plugin and print its answer."""
    body = _body(arguments, data, is_json=content_type == "application/json")
    path = f"/app/{quote(name, safe='')}/{quote(action, safe='/')}"
    headers = {"Content-Type": content_type}
    with Client() as client, contextlib.ExitStack() as stack:
        with output.progress(f"{name}/{action}"):
            answer = client.opened("POST", path, content=body, headers=headers)
            response = stack.enter_context(answer)
        if response.is_error:
            _failed(response)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        output.copy(response.iter_bytes(), is_json=is_json)
        if is_json and not sys.stdout.isatty():
            output.line("")


@app.command()
def restart(name: Name, wait: Wait = True, timeout: Timeout = 60, form: Form = "table") -> None:
    """Replace a plugin's instance by a new one."""
    _command(name, "restart", form, timeout if wait else None)


@app.command()
def suspend(name: Name, form: Form = "table") -> None:
    """Stop a plugin and keep it stopped."""
    _command(name, "suspend", form, None)


@app.command()
def resume(name: Name, wait: Wait = True, timeout: Timeout = 60, form: Form = "table") -> None:
    """Let a suspended plugin run again."""
    _command(name, "resume", form, timeout if wait else None)


@app.command()
def wait(
    name: Name,
    wanted: Annotated[str, typer.Option("--for", metavar="CONDITION", help="Such as Ready, or Ready=False.")],
    timeout: Timeout = 60,
) -> None:
    """Wait until a plugin's condition is true."""
    condition, value = _condition(wanted)
    deadline = time.monotonic() + timeout
    unheard = min(deadline, time.monotonic() + UNHEARD_SECONDS)
    with Client() as client, output.progress(f"waiting for {name} to be {wanted}"):
        while True:
            try:
                status = client.get(plugin_path(name, "status"))
            except Stopped as stopped:
                if stopped.code != Exit.NOT_FOUND or time.monotonic() >= unheard:
                    raise
                time.sleep(POLL_SECONDS)
                continue
            found = _conditions(status.get("status", status)).get(condition, {})
            if found.get("status") == value:
                break
            if time.monotonic() >= deadline:
                why = ": ".join(part for part in (found.get("reason"), found.get("message")) if part)
                detail = f"{name} is not {wanted} after {timeout:g} s" + (f"; {why}" if why else "")
                raise Stopped(Exit.FAILED, "WaitTimeout", detail)
            time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    output.line(f"{name}: {wanted}")


def _all(client: Client) -> dict[str, Any]:
    """Every plugin, page by page."""
    items: list[Any] = []
    after: dict[str, str | float] = {}
    while True:
        page = client.get(PLUGINS, **after)
        items += page["items"]
        after = {"continue": page.get("metadata", {}).get("continue", "")}
        if not after["continue"]:
            return {"items": items}


def _command(name: str, verb: str, form: str, wait_seconds: float | None) -> None:
    params: dict[str, str | float] = {}
    if wait_seconds is not None:
        params = {"wait": "Ready", "timeoutSeconds": wait_seconds}
    with Client() as client, output.progress(f"{verb} {name}"):
        plugin = client.post(plugin_path(name, verb), seconds=ANSWER_SECONDS + (wait_seconds or 0), **params)
    if form == "json":
        output.data(plugin)
    else:
        output.line(f"{name}: Ready" if wait_seconds is not None else f"{name}: {verb} is under way")


def _body(arguments: str | None, data: str | None, *, is_json: bool) -> bytes:
    if data is None:
        body = (arguments or "{}").encode(errors="surrogateescape")
    elif arguments is not None:
        raise Stopped(Exit.USAGE, "BadUsage", "give the body as an argument or by --data, not by both")
    else:
        body = _read(data)
    if is_json:
        try:
            json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Stopped(Exit.USAGE, "BadUsage", f"the body is not JSON: {error}") from None
    return body


def _read(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        raise Stopped(Exit.USAGE, "BadUsage", "--data takes @FILE, or - for standard input")
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise Stopped(Exit.USAGE, "BadUsage", f"{data[1:]} cannot be read: {error.strerror}") from None


def _failed(response: Any) -> None:
    """End as our problem says; what a plugin of its own answers is printed as it is."""
    body = response.read()
    stopped = problem_in(response, body)
    if stopped is None:
        output.copy([body], is_json="json" in response.headers.get("content-type", ""))
        detail = f"the plugin answered {response.status_code} {response.reason_phrase}"
        stopped = Stopped(code_for(response.status_code, ""), "PluginAnswer", detail)
        stopped.request_id = response.headers.get("x-request-id", "")
    raise stopped


def _condition(wanted: str) -> tuple[str, str]:
    """Split `Ready`, `Ready=False` or kubectl's `condition=Ready`."""
    name, _, value = wanted.removeprefix("condition=").partition("=")
    value = (value or "True").capitalize()
    if name in CONDITIONS and value in {"True", "False", "Unknown"}:
        return name, value
    close = difflib.get_close_matches(name[:63], CONDITIONS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(CONDITIONS)}"
    raise Stopped(Exit.USAGE, "BadUsage", f"{wanted} is not a condition to wait for; {hint}")


def _conditions(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {condition["type"]: condition for condition in status.get("conditions", ())}


def _row(plugin: Mapping[str, Any], *, wide: bool) -> Sequence[object]:
    status = plugin.get("status", {})
    conditions = _conditions(status)
    ready = conditions.get("Ready", {})
    row = [
        plugin["metadata"]["name"],
        ready.get("status", "Unknown"),
        ready.get("reason", ""),
        f"{status.get('readyReplicas', 0)}/{status.get('replicas', 0)}",
        status.get("restarts", {}).get("count", 0),
        plugin.get("spec", {}).get("version", ""),
    ]
    if wide:
        shown = ("endpoint", "runtime", "image", "currentRevision", "securityRating")
        row += ["" if (value := status.get(key)) is None else value for key in shown]
        row.append(conditions.get("NetworkIsolated", {}).get("status", "Unknown"))
    return row


def _show_conditions(plugin: Mapping[str, Any]) -> None:
    rows = [
        [each[key] for key in ("type", "status", "reason", "lastTransitionTime", "message")]
        for each in _conditions(plugin.get("status", {})).values()
    ]
    output.table(("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"), rows)
