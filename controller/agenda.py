"""What this controller does by itself, put together."""

from __future__ import annotations

import functools

from controller.dataplane.inner import InnerCalls
from controller.dataplane.plane import DataPlane
from controller.ground import Ground
from integrations import journal
from integrations.audit import Audit
from integrations.database.database import Database
from integrations.keyring import KeyRing
from integrations.tasks import builtin
from integrations.tasks.agenda import Agenda, Share
from integrations.tasks.calls import Calls, Reach
from integrations.tasks.rows import TaskRows
from xcore.clock import WallClock
from xcore.manager import Manager

KEPT_RUNS_DAYS = 30
KEPT_CALLS_DAYS = 1
KEPT_DEAD_DAYS = 7
KEPT_KEYS_DAYS = 90  # after a key was revoked, or has expired
KEPT_AUDIT_DAYS = 365


def make_agenda(
    manager: Manager, database: Database, plane: DataPlane, ground: Ground, *, holder: str
) -> tuple[Agenda, Calls]:
    """`holder`: this controller's name, the same after a restart."""
    clock, call = WallClock(), InnerCalls(plane)
    rows = TaskRows(database, holder, clock)
    gate, ring = plane.gate, KeyRing(database, None)
    good = gate.is_good if gate is not None else _anybody
    calls = Calls(database, holder, clock, Reach(call, good, functools.partial(_plugins, manager)))
    kept: dict[str, tuple[float, builtin.Forget]] = {
        "runs of tasks": (KEPT_RUNS_DAYS, rows.forget),
        "calls": (KEPT_CALLS_DAYS, calls.kept.forget),
        "dead letters": (KEPT_DEAD_DAYS, calls.kept.forget_dead),
        "ended keys": (KEPT_KEYS_DAYS, ring.forget),
        "events": (journal.KEPT_SECONDS / builtin.DAY, functools.partial(journal.forget, database)),
        "entries of the audit": (KEPT_AUDIT_DAYS, Audit(database, clock).forget),
    }
    built_in = [
        builtin.retention(kept, clock),
        builtin.sweep(ground.runtime.sweep),
        builtin.expiry(ring.ending, clock),
        *([builtin.backup(database.file)] if database.file is not None else []),
    ]
    mine = functools.partial(_share, ground, database)
    return Agenda(manager, call, rows, built_in, mine), calls


def _share(ground: Ground, database: Database) -> Share:
    if ground.leads():
        return Share.ALL
    # What is in a database that nobody else has, nobody else looks after.
    return Share.BUILT_IN if database.file is not None else Share.NOTHING


def _plugins(manager: Manager) -> frozenset[str] | None:
    return frozenset(manager.names()) if manager.synced else None


def _anybody(_: str) -> bool:
    return True
