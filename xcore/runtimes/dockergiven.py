"""What a container is given by directories of its own on the host: its secrets, and its way to call other plugins."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xcore.errors import WorkloadRejected
from xcore.runtimes import envelope
from xcore.runtimes.callsockets import CallSockets
from xcore.runtimes.handed import Handed, ReadSecrets
from xcore.runtimes.told import CALLS_DIR, SECRETS_DIR, may_call
from xcore.workload import Workload

PLACES = frozenset({SECRETS_DIR, CALLS_DIR})
_log = logging.getLogger("xcore.docker")


class Given:
    """By an instance's short id. Everything blocks; `open` once the engine answers."""

    def __init__(self, state_dir: Path, read_secrets: ReadSecrets, calls: CallSockets | None) -> None:
        self._handed, self._read_secrets = Handed(state_dir.resolve() / "handed"), read_secrets
        self.calls = calls

    def open(self, containers: Sequence[Mapping[str, Any]]) -> None:
        """Take back what nobody has any more; answer the calls of those that are there."""
        present = frozenset(name.rpartition("-")[2] for item in containers for name in item["Names"])
        self._handed.sweep(present)
        if self.calls is None:
            return
        self.calls.sweep(present)
        for item in containers:
            for mount in item["Mounts"]:
                if mount["Destination"] == CALLS_DIR:
                    self._adopt(item, Path(mount["Source"]).name, self.calls)

    def _adopt(self, container: Mapping[str, Any], short_id: str, calls: CallSockets) -> None:
        plugin = container["Labels"][envelope.PLUGIN]
        try:
            calls.listen(short_id, plugin=plugin, instance=container["Id"])
        except WorkloadRejected as error:  # somebody removed its directory: it serves, and calls nobody
            _log.warning("%s: an instance cannot call until it is restarted: %s", plugin, error.detail)

    def give(
        self, workload: Workload, short_id: str, *, owner: tuple[int, int] | None
    ) -> tuple[str | None, str | None]:
        """Make the directories that such a workload needs, of secrets and of calls; `owner`: who is to read them."""
        handed = self._handed.give(short_id, self._read_secrets(workload.manifest.spec.secrets), owner=owner)
        calls = None
        if self.calls is not None and may_call(workload):
            try:
                calls = self.calls.give(short_id, group=owner[1] if owner else None)
            except WorkloadRejected:
                self._handed.take_back(short_id)
                raise
        return str(handed) if handed else None, str(calls) if calls else None

    def made(self, workload: Workload, short_id: str, container: str) -> None:
        """Its container is there, and about to start."""
        if self.calls is not None and may_call(workload):
            self.calls.listen(short_id, plugin=workload.name, instance=container)

    def ended(self, container: str) -> None:
        """It is kept for its logs, and calls nobody any more."""
        if self.calls is not None:
            self.calls.ended(container)

    def take_back(self, short_id: str) -> None:
        self._handed.take_back(short_id)
        if self.calls is not None:
            self.calls.take_back(short_id)
