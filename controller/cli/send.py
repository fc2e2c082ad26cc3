"""Commands that make and remove plugins: `apply`, `delete`, `rollback`, `revisions`."""

from __future__ import annotations

import gzip
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from controller.cli import output
from controller.cli.client import ANSWER_SECONDS, Client, plugin_path
from controller.cli.exits import Exit, Stopped
from controller.cli.older import FOLDERS, is_old
from controller.cli.output import Brief
from controller.cli.plugins import Form, Name, Timeout, Wait
from xcore.bundle import MANIFEST, Entry, survey
from xcore.errors import Invalid
from xcore.manifest import Manifest
from xcore.packing.lock import LOCK, require
from xcore.packing.preparation import read_lock
from xcore.parcel import manifest_of, read_data
from xcore.yamlsafe import MAX_BYTES

SEND_SECONDS = 300.0

app = typer.Typer(rich_markup_mode=None)


@app.command()
def apply(
    path: Annotated[
        str,
        typer.Option(
            "-f", "--file", metavar="FILE|DIR|-", help="Manifest, plugin folder, or standard input."
        ),
    ],
    wait: Wait = True,
    timeout: Timeout = 60,
    form: Form = "table",
    note: Annotated[str, typer.Option(help="Kept with the revision.")] = "",
) -> None:
    """Send a plugin, or what changed of it."""
    folder = Path(path) if path != "-" and Path(path).is_dir() else None
    text = _old_text(folder) if folder is not None and is_old(folder) else _text(path, folder)
    manifest = _manifest(text, path)
    name = manifest.metadata.name
    with Client() as client, tempfile.TemporaryFile() as archive:
        request: dict[str, Any] = {"content": text, "headers": {"Content-Type": "application/yaml"}}
        if folder is not None and manifest.spec.source.folder is not None:
            _pack(folder, manifest, archive)
            parts = {"manifest": (MANIFEST, text, "application/yaml"), "archive": ("archive.tar.gz", archive)}
            request = {"files": parts}
        params: dict[str, str | float] = {"note": note}
        if wait and manifest.spec.operating_mode == "Running":
            params |= {"wait": "Ready", "timeoutSeconds": timeout}
        with output.progress(f"sending {name}"):
            before = client.find(plugin_path(name))
            plugin = client.send(
                "PUT",
                plugin_path(name),
                seconds=max(SEND_SECONDS, timeout + ANSWER_SECONDS),
                params=params,
                **request,
            )
    if form == "json":
        output.data(plugin)
        return
    same = before is not None and _version(before) == _version(plugin)
    output.line(f"plugin/{name} {'created' if before is None else 'unchanged' if same else 'configured'}")


@app.command()
def delete(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Names of plugins.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until nothing of it runs.")] = True,
    timeout: Timeout = 60,
) -> None:
    """Remove plugins that were sent; one in a folder goes with its folder."""
    params: dict[str, str | float] = {"wait": "Gone", "timeoutSeconds": timeout} if wait else {}
    with Client() as client:
        for name in names:
            with output.progress(f"deleting {name}"):
                client.send("DELETE", plugin_path(name), seconds=timeout + ANSWER_SECONDS, params=params)
            output.line(f"plugin/{name} deleted")


@app.command()
def rollback(
    name: Name,
    to: Annotated[int | None, typer.Option(min=1, help="Number of a revision; else the one before.")] = None,
    wait: Wait = True,
    timeout: Timeout = 60,
    form: Form = "table",
) -> None:
    """Go back to a kept revision of a plugin that was sent."""
    params: dict[str, str | float] = {"wait": "Ready", "timeoutSeconds": timeout} if wait else {}
    with Client() as client, output.progress(f"rolling {name} back"):
        number = to if to is not None else _before(name, client)
        plugin = client.send(
            "POST",
            plugin_path(name, "rollback"),
            seconds=timeout + ANSWER_SECONDS,
            params=params,
            json={"revision": number},
        )
    if form == "json":
        output.data(plugin)
    else:
        output.line(f"plugin/{name} rolled back to revision {number}")


@app.command()
def revisions(
    name: Name, form: Annotated[Brief, typer.Option("-o", "--output", help="How to print it.")] = "table"
) -> None:
    """Show the kept revisions of a plugin that was sent."""
    with Client() as client:
        found = client.get(plugin_path(name, "revisions"))
    if form == "json":
        output.data(found)
        return
    rows = [
        (
            each["revision"],
            "yes" if each["wanted"] else "",
            *(each[key] for key in ("version", "how", "by", "at")),
            each["digest"].removeprefix("sha256:")[:12],
            each["note"],
        )
        for each in found["items"]
    ]
    output.table(("REVISION", "WANTED", "VERSION", "HOW", "BY", "AT", "CODE", "NOTE"), rows)


def _before(name: str, client: Client) -> int:
    kept = client.get(plugin_path(name, "revisions"))["items"]
    if len(kept) < 2:
        raise Stopped(Exit.REFUSED, "RevisionNotFound", f"{name} has one revision only")
    return int(kept[1]["revision"])


def _version(plugin: Any) -> Any:
    return plugin.get("metadata", {}).get("resourceVersion")


def _old_text(folder: Path) -> bytes:
    """Today's manifest for a folder of the old system, which is sent as it is."""
    try:
        draft = FOLDERS.draft(folder)
        draft.manifest()
    except Invalid as error:
        raise Stopped(Exit.REFUSED, error.reason, f"{folder}: {error.detail}", error.problems) from None
    return draft.text().encode()


def _text(path: str, folder: Path | None) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    file = folder / MANIFEST if folder is not None else Path(path)
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Stopped(Exit.NOT_FOUND, "NotFound", f"there is no {file}") from None
    except OSError as error:
        raise Stopped(Exit.USAGE, "BadUsage", f"{file} cannot be read: {error.strerror}") from None


def _manifest(text: bytes, path: str) -> Manifest:
    try:
        return manifest_of(read_data(text, is_json=False))
    except Invalid as error:
        raise Stopped(Exit.REFUSED, error.reason, f"{path}: {error.detail}", error.problems) from None


def _pack(folder: Path, manifest: Manifest, archive: IO[bytes]) -> None:
    """Write the folder as a tar.gz: the same bytes for the same files. Refuses what the controller would."""
    code = folder / (manifest.spec.source.folder or ".")
    try:
        _demand_lock(code, manifest)
        entries = survey(code)
        with (
            gzip.GzipFile(fileobj=archive, mode="wb", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for entry in entries:
                _add(tar, code, entry, Path(manifest.spec.source.folder or "."))
    except Invalid as error:
        raise Stopped(Exit.REFUSED, error.reason, error.detail, error.problems) from None
    except OSError as error:
        raise Stopped(
            Exit.FAILED, "InvalidBundle", f"{folder} cannot be read: {error.strerror or error}"
        ) from None
    archive.seek(0)


def _add(tar: tarfile.TarFile, code: Path, entry: Entry, below: Path) -> None:
    member = tarfile.TarInfo((below / entry.path).as_posix())
    member.size, member.mode = entry.size, 0o755 if entry.executable else 0o644
    with (code / entry.path).open("rb") as file:
        tar.addfile(member, file)


def _demand_lock(code: Path, manifest: Manifest) -> None:
    """What the dependencies stand for is decided here, not on the controller."""
    if not manifest.spec.dependencies:
        return
    advice = f"run `xcore pack {code}`"
    try:
        lock = read_lock(code)
        if lock is not None:
            require(lock, manifest, lock.provided)
            return
        detail = f"there is no {LOCK} for spec.dependencies"
    except Invalid as error:
        detail = error.detail
    raise Stopped(Exit.REFUSED, "InvalidBundle", detail if advice in detail else f"{detail}; {advice}")
