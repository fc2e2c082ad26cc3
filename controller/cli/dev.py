"""`xcore dev`: serves one plugin folder on loopback, rolls out each save, and tells of it in the terminal.

The controller is a child with its state in a temporary directory (`controller.alone`); here is what its author sees.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import httpx
import typer

from controller.cli import output
from controller.cli.exits import Exit, Stopped
from controller.cli.locking import lock_anew, read_folder, stopped_by, tell
from controller.cli.rollout import Output, Verdict, preparing, verdict
from xcore.bundle import MANIFEST, survey
from xcore.errors import InvalidManifest, XcoreError
from xcore.packing.lock import LOCK
from xcore.packing.uv import Cancelled, Job
from xcore.testing.alone import HOST, Alone, NotStarted

app = typer.Typer(rich_markup_mode=None)

LOOK_SECONDS = 0.1


class _Ending:
    """Whether this is to end: by Ctrl-C, SIGTERM, a terminal that is gone. Nothing is interrupted, so all is tidied."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._hear)

    def _hear(self, *_: object) -> None:
        self.asked = True


class _Job(Job):
    """Packing that ends when everything does."""

    def __init__(self, ending: _Ending) -> None:
        super().__init__(tell)
        self._ending = ending

    def go_on(self, *, after: float = 0.0) -> None:
        if self._ending.asked:
            raise Cancelled
        super().go_on(after=after)


@app.command()
def dev(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="Plugin folder.")],
    docker: Annotated[
        bool, typer.Option("--docker", help="In a Docker container instead of a child process.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where it listens on 127.0.0.1; 0: any that is free.")
    ] = 8000,
) -> None:
    """Serve a plugin folder while you work on it: reload on save, tracebacks here."""
    if not path.is_dir():
        raise Stopped(Exit.NOT_FOUND, "NotFound", f"there is no folder {path}")
    try:
        folder = read_folder(path)
        one = _bound(path, folder.manifest.metadata.name, docker=docker, port=port)
        ending = _Ending()
        if lock_anew(folder, _Job(ending)):
            _say(f"{LOCK} is written: commit it")
        with one:
            session = _Session(one, path, folder.source, ending)
            while not ending.asked:
                with contextlib.suppress(httpx.HTTPError):  # it did not answer in time: the next look tells
                    session.look()
                time.sleep(LOOK_SECONDS)
            _say("ending")
    except Cancelled:
        return
    except NotStarted as error:
        raise Stopped(Exit.UNREACHABLE, error.reason, error.detail) from None
    except XcoreError as error:
        raise stopped_by(error) from None


def _bound(path: Path, name: str, *, docker: bool, port: int) -> Alone:
    try:
        return Alone(path, name=name, runtime="docker" if docker else "process", port=port, keyless=True)
    except OSError as error:
        said = os.strerror(error.errno or 0)
        why = f"port {port} of {HOST} cannot be had: {said}; choose another with --port"
        raise Stopped(Exit.FAILED, "NotStarted", why) from None


class _Session:
    """What was told so far, and what is new at each look."""

    def __init__(self, one: Alone, path: Path, source: Path, ending: _Ending) -> None:
        self._one, self._path, self._ending = one, path, ending
        self._output = Output(one.folder)
        self._told: Verdict | None = None
        self._served = self._name = self._progress = ""
        self._since = time.time()
        self._watched = (path / MANIFEST, source / LOCK)
        self._stamps = _stamps(self._watched)

    def look(self) -> None:
        self._lock_again()
        resource = self._one.resource()
        if resource is None:
            if self._told is not None:
                self._tell(Verdict(good=False, key="", text=f"there is no {MANIFEST} in {self._path}"), "")
            return
        self._one.name = resource["metadata"]["name"]
        for line in self._output.fresh(self._one.written(1000)):
            output.line(line)
        progress = preparing(resource)
        if progress != self._progress:
            self._progress = progress
            if progress:
                _say(progress)
        found = verdict(resource)
        if found is not None:
            self._tell(found, resource["status"].get("currentRevision", ""))

    def _tell(self, found: Verdict, serving: str) -> None:
        if found == self._told:
            return
        self._told = found
        if not found.good:
            rest = f"revision {serving} keeps serving" if serving else "nothing serves until a save mends it"
            _say(f"{found.text}; {rest}")
        elif serving == self._served:
            _say(f"serves again: revision {serving}")
        else:
            done = "reloaded" if self._served else "serves"
            _say(f"{done} in {self._seconds():.1f} s: revision {serving}")
        if found.good:
            self._greet()
            self._served = serving
        self._since = time.time()

    def _greet(self) -> None:
        """Say where it answers: at first, and when it got another name."""
        if self._name == self._one.name:
            return
        self._name = self._one.name
        for warning in self._one.warnings():
            _say(warning)
        _say(f"it is at {self._one.url}, without a key for everybody on this machine; try")
        output.line(f"  {_curl_line(self._one)}")

    def _seconds(self) -> float:
        """How long ago the author saved, as far as the files tell; at first, how long ago it was started."""
        now = time.time()
        if not self._served:
            return now - self._since
        return now - max([self._since, *(stamp for stamp in _changes(self._path) if stamp <= now)])

    def _lock_again(self) -> None:
        """Have the lock follow the manifest; what fails is told, and tried again after the next save."""
        stamps = _stamps(self._watched)
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            if not lock_anew(read_folder(self._path), _Job(self._ending)):
                return
            _say(f"{LOCK} is written: commit it")
        except (Stopped, InvalidManifest):
            return  # the status says so
        except XcoreError as error:
            _say(f"{error.reason}: {error.detail}")
            return
        self._stamps = _stamps(self._watched)
        resource = self._one.resource()
        # That the lock did not fit is known by now, and mended.
        self._told = (verdict(resource) if resource else None) or self._told


def _say(text: str) -> None:
    output.line(f"xcore: {text}")


def _stamps(files: Sequence[Path]) -> list[int]:
    return [file.stat().st_mtime_ns if file.exists() else 0 for file in files]


def _changes(path: Path) -> Iterator[float]:
    """When each file was changed."""
    try:
        for entry in survey(path):
            yield (path / entry.path).stat().st_ctime
    except (OSError, XcoreError):
        return


def _curl_line(one: Alone) -> str:
    """Give a command that works: an action that needs no arguments, else what answers at its address."""
    url = f"{one.url}/app/{one.name}"
    answer = one.http.get(f"/app/{one.name}")
    if answer.headers.get("content-type", "").partition(";")[0] != "application/json":
        return f"curl {shlex.quote(url + '/')}"
    told = answer.json()
    actions = told["actions"] if isinstance(told, dict) and told.get("kind") == "actions" else []
    for action in actions:
        if action["rawBody"] or action["arguments"].get("required"):
            continue
        address = shlex.quote(f"{url}/{action['name']}")
        return f"curl {address} -H 'Content-Type: application/json' -d '{{}}'"
    return f"curl {shlex.quote(url)}"
