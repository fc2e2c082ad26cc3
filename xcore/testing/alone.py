"""A plugin folder on a controller of its own: a child process, on loopback, that ends with this one.

What the author's commands and the fixture for authors' tests stand on. Needs the `server` extra; the controller is
run, never imported.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx

from xcore.errors import XcoreError

HOST = "127.0.0.1"
START_SECONDS = 90.0
CALL_SECONDS = 120.0
# From the end of its input to a kill: longer than any grace it gives a plugin.
END_SECONDS = 60.0
POLL_SECONDS = 0.03
_ASK_SECONDS = 5.0
_MOST_SAID = 1024 * 1024

Runtime = Literal["auto", "docker", "process"]


class NotStarted(XcoreError):
    """The controller itself could not start: no engine, no image, no room."""

    reason = "NotStarted"


class NotServed(XcoreError):
    """The controller runs, the plugin does not; `reason` is that of its status, `output` what it wrote."""

    reason = "NotServed"
    component = "plugin"

    def __init__(self, reason: str, detail: str, output: list[str]) -> None:
        super().__init__(detail)
        self.reason, self.output = reason, output


class Alone:
    """One folder, one controller. Made: its port is bound (OSError); entered: it runs; left: nothing of it does.

    With `keyless`, whoever is on this machine may ask it anything; else only `http` has the key.
    """

    def __init__(
        self, folder: Path, *, name: str, runtime: Runtime = "auto", port: int = 0, keyless: bool = False
    ) -> None:
        self._listener = socket.create_server((HOST, port), backlog=128)
        self.folder, self.name = folder.resolve(), name
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        key = secrets.token_hex(16)
        self._settings = {
            "host": HOST,
            "runtime": runtime,
            "trusted": [name],
            "auth": "none" if keyless else "key",
            "admin_key": None if keyless else key,
            "log_format": "json",
            "log_level": "warning",
        }
        headers = {} if keyless else {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=CALL_SECONDS)

    def __enter__(self) -> Self:
        # A file without a name: nobody has to read along, and it goes with its last holder.
        self._said = tempfile.TemporaryFile()
        with self._listener as listener:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "controller.alone"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for us; it ends when its input does
            )
            told = {"folder": str(self.folder), "listener": listener.fileno(), "settings": self._settings}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        self._process.stdin.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def ready(
        self, seconds: float = START_SECONDS, tell: Callable[[str], None] = lambda _: None
    ) -> dict[str, Any]:
        """Wait until the plugin serves; gives its resource. Raises NotStarted, NotServed. `tell` hears of progress."""
        deadline, told = time.monotonic() + seconds, ""
        while True:
            resource = self.resource()
            found = conditions(resource) if resource else {}
            if _true(found, "Ready") and found["Progressing"]["reason"] == "NewRevisionAvailable":
                assert resource is not None
                return resource
            why = given_up(resource) if resource else None
            late = time.monotonic() > deadline
            if why is not None or late:
                reason, detail = why or (
                    "WaitTimeout",
                    f"it does not serve after {seconds:g} s; {_last(found)}",
                )
                raise NotServed(reason, detail, self.output())
            if _last(found) != told:
                told = _last(found)
                tell(told)
            time.sleep(POLL_SECONDS)

    def resource(self) -> dict[str, Any] | None:
        """Give the Plugin resource, as far as the controller knows one by now; raises NotStarted."""
        try:
            answer = self.http.get("/api/v1/plugins", timeout=_ASK_SECONDS)
            items = answer.raise_for_status().json()["items"]
        except httpx.TransportError:
            if self._process.poll() is None:
                return None
            raise NotStarted(self._last_words()) from None
        return items[0] if items else None

    def output(self, lines: int = 1000) -> list[str]:
        """Give what the plugin wrote, oldest first."""
        return [entry["text"] for entry in self.written(lines)]

    def written(self, lines: int) -> list[dict[str, str]]:
        """Give the last so many lines of each instance that is still known: `text`, `instance`, `time`."""
        path = f"/api/v1/plugins/{quote(self.name, safe='')}/logs"
        answer = self.http.get(path, params={"lines": lines}, headers={"Accept": "application/json"})
        if answer.is_error:
            return []
        return [json.loads(line) for line in answer.text.splitlines()]

    def warnings(self) -> list[str]:
        """Give what the controller warned of so far."""
        return [entry["message"] for entry in self._entries() if entry["level"] == "warning"]

    def _last_words(self) -> str:
        errors = [entry["message"] for entry in self._entries() if entry["level"] == "error"]
        said = errors[-1] if errors else f"the controller ended with exit code {self._process.returncode}"
        return str(said).removeprefix("cannot start: ")

    def _entries(self) -> Iterator[Mapping[str, Any]]:
        # Not by seek and read: the place in the file is shared with the writer.
        said = os.pread(self._said.fileno(), _MOST_SAID, 0)
        for line in said.decode(errors="replace").splitlines():
            if line.startswith("{"):
                yield json.loads(line)


def given_up(resource: Mapping[str, Any]) -> tuple[str, str] | None:
    """Reason and sentence when waiting would not help, else None."""
    found = conditions(resource)
    for kind in ("Accepted", "ResolvedRefs", "Programmed", "Progressing"):
        if found.get(kind, {}).get("status") == "False":
            return found[kind]["reason"], found[kind]["message"]
    ready = found["Ready"]
    if ready["status"] == "False" and (
        ready["reason"] == "Suspended" or resource["status"]["restarts"]["lastReason"]
    ):
        reason = "StartupFailed" if ready["reason"] == "Starting" else ready["reason"]
        return reason, ready["message"] or "the manifest says operatingMode: Suspended"
    return None


def conditions(resource: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {condition["type"]: condition for condition in resource["status"]["conditions"]}


def _true(found: Mapping[str, Mapping[str, str]], kind: str) -> bool:
    return found.get(kind, {}).get("status") == "True"


def _last(found: Mapping[str, Mapping[str, str]]) -> str:
    """What is known of the way up: the newest thing that is not so yet."""
    kinds = [found[kind] for kind in ("Accepted", "Programmed", "ImageVerified") if kind in found]
    waiting = next((c for c in kinds if c["status"] != "True" and c["message"]), None)
    chosen = waiting or found.get("Ready")
    return ": ".join(filter(None, (chosen["reason"], chosen["message"]))) if chosen else "starting"
