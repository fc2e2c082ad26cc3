"""A whole controller to measure: `xcore serve` with the Docker runtime, plugins and state in a temporary directory."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.figures import BenchError
from bench.processes import child, free_port, wait_answer
from bench.sandboxes import EXAMPLES, remove_owned, require_engine
from bench.wrk import Load
from xcore.store import FileStore

READY_SECONDS = 90.0
_COMMAND = [sys.executable, "-c", "from controller.cli import main; main()", "serve"]


@dataclass(frozen=True, slots=True)
class Controller:
    """One that runs: `load` makes a call of one of its plugins."""

    port: int
    key: str
    log: Path
    pid: int = 0

    def load(self, path: str, body: str | None) -> Load:
        return Load(f"http://127.0.0.1:{self.port}/app/{path}", {"Authorization": f"Bearer {self.key}"}, body)

    def answer(self, load: Load) -> bytes:
        """Wait until it answers with 200; gives the body."""
        return wait_answer(self.port, load, log=self.log, seconds=READY_SECONDS)


@contextlib.contextmanager
def controller(directory: Path, **more: str) -> Iterator[Controller]:
    """Run one over the plugins in `directory/plugins`; `more` settings by name. Leaves no sandbox, even when killed."""
    running = Controller(free_port(), secrets.token_hex(32), directory / "controller.log")
    settings = {
        "PORT": str(running.port),
        "PLUGINS_DIR": str(directory / "plugins"),
        "STATE_DIR": str(directory / "state"),
        "ADMIN_KEY": running.key,
        "RUNTIME": "docker",
        "ON_EXIT": "stop",
        **more,
    }
    environment = {f"XCORE_{name}": value for name, value in settings.items()}
    try:
        with child(_COMMAND, log=running.log, environment=environment) as pid:
            yield replace(running, pid=pid)
    finally:
        _remove_leftovers(directory / "state")


def copy_example(name: str, directory: Path) -> None:
    if not (EXAMPLES / name).is_dir():
        raise BenchError(f"the example {name} is missing")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES / name, directory / "plugins" / name, ignore=ignored)


def write_plugin(name: str, manifest: Mapping[str, Any], code: str, directory: Path) -> None:
    folder = directory / "plugins" / name
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(code)
    (folder / "plugin.yaml").write_text(json.dumps(manifest))


def _remove_leftovers(state: Path) -> None:
    """A controller that had to be killed leaves its sandboxes: they go by its owner label."""
    owner = FileStore(state / "store").read("index", "owner")
    if owner is not None:
        remove_owned(require_engine(), str(owner["id"]))
