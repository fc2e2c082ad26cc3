"""What this controller does by itself, put together."""

from __future__ import annotations

import functools

from controller.dataplane.inner import InnerCalls
from controller.dataplane.plane import DataPlane
from controller.ground import Ground
from integrations import journal
from integrations.database.database import Database
from integrations.tasks import builtin
from integrations.tasks.agenda import Agenda
from integrations.tasks.rows import TaskRows
from xcore.clock import WallClock
from xcore.manager import Manager

KEPT_RUNS_DAYS = 30


def make_agenda(
    manager: Manager, database: Database, plane: DataPlane, ground: Ground, *, holder: str
) -> Agenda:
    """`holder`: this controller's name, the same after a restart."""
    clock = WallClock()
    rows = TaskRows(database, holder, clock)
    kept: dict[str, tuple[float, builtin.Forget]] = {
        "runs of tasks": (KEPT_RUNS_DAYS, rows.forget),
        "events": (journal.KEPT_SECONDS / builtin.DAY, functools.partial(journal.forget, database)),
    }
    built_in = [
        builtin.retention(kept, clock),
        builtin.sweep(ground.runtime.sweep),
    ]
    return Agenda(manager, InnerCalls(plane), rows, built_in, leads=ground.leads)
