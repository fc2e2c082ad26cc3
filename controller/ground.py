"""What a controller stands on: where its plugins run, by which doors they come beside folders, what is prepared."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from controller.dataplane.callport import CallPort
from controller.finding import Finding
from controller.settings import Settings
from controller.sites import open_sites
from integrations.database.database import Database
from integrations.ledger import RowLedger, remembered_doors
from sandbox_image.tag import packages
from xcore.bundle import Snapshots
from xcore.images import Images
from xcore.ledger import Ledger
from xcore.manager import Manager
from xcore.packing.preparation import Packing
from xcore.records import Records
from xcore.runtimes.callsockets import CallSockets
from xcore.runtimes.seams import Engine, Runtime
from xcore.runtimes.supervised import Supervised
from xcore.sources import Preparation, Source, Sources
from xcore.store import FileStore
from xcore.vault import Vault

# Where a pod finds who it is (kubernetes.io, "Accessing the Kubernetes API from a Pod").
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
Join = Callable[[Manager, Sources], AbstractAsyncContextManager[None]]


async def _nothing() -> Sequence[Finding]:
    """On one machine `xcore doctor` looks there itself."""
    return ()


@dataclass(frozen=True, slots=True)
class Ground:
    """`join` is entered for the time the controller serves. `ledger`: where plugins that come through the API are kept.

    `calls`, `port`: where its plugins call each other, those of this machine and pods. `degraded` tells, once it is joined, what the ground does not let the
    controller do; anybody may read it. `examine` looks at what only the controller sees: within 25 s, for administrators.
    `leads`: whether this replica, of several, is the one that does what is to be done once.
    """

    runtime: Runtime
    ledger: Ledger
    doors: Sequence[Source]
    preparations: Sequence[Preparation]
    join: Join
    calls: CallSockets
    port: CallPort | None = None
    degraded: Callable[[], Sequence[str]] = tuple
    leads: Callable[[], bool] = lambda: True
    examine: Callable[[], Awaitable[Sequence[Finding]]] = _nothing


def in_cluster(settings: Settings) -> bool:
    """Tell whether plugins run as pods: asked for, or `auto` in a pod."""
    return settings.runtime == "kubernetes" or (settings.runtime == "auto" and SERVICE_ACCOUNT.is_dir())


def machine_ground(
    settings: Settings, engine: Engine, vault: Vault, database: Database, *, calls: CallSockets
) -> Ground:
    """Give the ground of one machine, whose engine starts and stops single instances."""
    state = settings.state_dir
    snapshots, sites = Snapshots(state / "snapshots"), open_sites(state)
    records = Records(FileStore(state / "store"), snapshots=snapshots.directory, sites=sites.directory)
    ledger = RowLedger(database, snapshots, remembered_doors(records.folders()))

    @contextlib.asynccontextmanager
    async def join(_manager: Manager, sources: Sources) -> AsyncIterator[None]:
        async with ledger.follow(sources.changed.set):
            yield

    preparations: Sequence[Preparation] = [Packing(sites, engine.target, packages()), Images(engine), vault]
    return Ground(Supervised(engine), ledger, [ledger], preparations, join, calls)
