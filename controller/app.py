"""The composition root: everything is made here, joined, run, and taken down in order."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvloop
from fastapi import FastAPI

from controller import logs
from controller.agenda import make_agenda
from controller.api import deferred, errors, health, metrics, openapi
from controller.banner import Banner
from controller.calling import answering, hang_up, tell_of_ungranted
from controller.dataplane.chains import Chains
from controller.dataplane.plane import DataPlane
from controller.dataplane.proxies import Proxies
from controller.engines import choose_engine
from controller.ground import Ground, in_cluster, machine_ground
from controller.listening import listen
from controller.server import Server
from controller.settings import Settings
from controller.sites import open_sites
from integrations.background import Background
from integrations.database.address import address
from integrations.database.database import Database
from integrations.gate import Gate
from integrations.installed import Chosen, choose, joined as join_installed
from integrations.integrate import integrate
from integrations.journal import Journal
from integrations.keys import open_admin_key
from integrations.legacy.folders import LegacyFolders
from integrations.once import Once
from integrations.tasks.agenda import Agenda
from integrations.tasks.calls import Calls
from xcore.bundle import Snapshots
from xcore.errors import StorageFull, XcoreError
from xcore.intake import Intake
from xcore.loader import Loader
from xcore.manager import Manager
from xcore.records import Records
from xcore.runtimes.byisolation import ByIsolation
from xcore.runtimes.callsockets import CallSockets
from xcore.runtimes.inprocess import InProcessEngine
from xcore.runtimes.lag import LoopLag
from xcore.sources import Sources
from xcore.store import FileStore
from xcore.vault import Vault, open_vault
from xcore.watch import changes

_AGAIN_SECONDS = 0.2  # a plugins directory that is not there, or was replaced, is looked for so often
# Threads talk to the engine; with the usual 5 ms each of their turns would be felt by requests under way.
SWITCH_SECONDS = 0.0005
_log = logging.getLogger("xcore.controller")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running controller is made of."""

    settings: Settings
    ground: Ground
    database: Database
    manager: Manager
    sources: Sources
    intake: Intake
    once: Once
    plane: DataPlane
    lag: LoopLag
    gate: Gate | None
    background: Background
    agenda: Agenda
    calls: Calls


def serve(settings: Settings, *, listener: socket.socket | None = None, sandbox_all: bool = False) -> int:
    """Run the controller until SIGTERM or SIGINT; 0 when it ended as asked, 1 when it could not start.

    `listener`: bound already, instead of the settings' address. `sandbox_all`: trusted plugins, too.
    """
    logs.configure(settings.log_format, settings.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, listener, sandbox_all=sandbox_all))
    except XcoreError as error:
        _log.error("cannot start: %s", error)
        return 1
    return 0


async def _serve(settings: Settings, given: socket.socket | None, *, sandbox_all: bool) -> None:
    prepare_state_dir(settings.state_dir)
    listener = given or listen(settings.host, settings.port)
    integrations = choose(settings.integrations)
    vault = open_vault(settings.state_dir, FileStore(settings.state_dir / "store"))
    async with _database(settings) as database:
        ground = await _ground(settings, vault, database, sandbox_all=sandbox_all)
        # Last of what can fail: a key that was made is also shown.
        admin_key = settings.admin_key.get_secret_value() if settings.admin_key is not None else None
        key, made = open_admin_key(settings.state_dir, admin_key)
        gate = Gate(key) if settings.auth == "key" else None
        parts = compose(settings, ground, database, gate, sandbox_all=sandbox_all)
        app = create_app(parts)
        server = Server(app, parts.plane, parts.background, told=parts.manager.stopping)
        banner = Banner(listener.getsockname()[:2], made, authenticated=settings.auth == "key")
        announcing = asyncio.create_task(banner.announce(parts.manager, parts.manager.routes))
        try:
            await server.run(listener, running(parts, app, integrations))
        finally:
            announcing.cancel()
    _log.info("the database is closed")


def _database(settings: Settings) -> Database:
    return Database(address(settings.database_address, settings.state_dir))


async def _ground(settings: Settings, vault: Vault, database: Database, *, sandbox_all: bool) -> Ground:
    if in_cluster(settings):
        # Kubernetes' client is 59 MB that nobody else needs.
        ground: Any = importlib.import_module("controller.operator.ground")
        return cast("Ground", await ground.cluster_ground(settings))
    sockets = CallSockets(settings.state_dir / "calls")
    sandboxes = await choose_engine(settings, owner_id(settings.state_dir), vault.read, sockets)
    trusted = InProcessEngine(read_secrets=vault.read, calls=sockets)
    engine = sandboxes if sandbox_all else ByIsolation(sandboxed=sandboxes, trusted=trusted)
    return machine_ground(settings, engine, vault, database, calls=sockets)


def compose(
    settings: Settings, ground: Ground, database: Database, gate: Gate | None, *, sandbox_all: bool = False
) -> Parts:
    """Put a controller together; nothing runs yet."""
    state = settings.state_dir
    store = FileStore(state / "store")
    store.tidy()
    snapshots, sites = Snapshots(state / "snapshots"), open_sites(state)
    records = Records(store, snapshots=snapshots.directory, sites=sites.directory)
    # Every other door has a slash in the place of a folder.
    loader = Loader(
        settings.plugins_dir,
        snapshots,
        expected=any("/" not in folder for folder in records.folders()),
        older=LegacyFolders(frozenset(() if sandbox_all else settings.trusted)),
    )
    trusted = frozenset(settings.trusted)
    manager = Manager(ground.runtime, records=records, collectors=[ground.ledger, sites], trusted=trusted)
    sources = Sources([loader, *ground.doors], ground.preparations)
    intake = Intake(ground.ledger, manager, hand_over=sources.refresh, staging=state / "uploads")
    plane = _plane(settings, ground, manager, gate)
    agenda, later = make_agenda(manager, database, plane, ground, holder=owner_id(state))
    return Parts(
        settings,
        ground,
        database,
        manager,
        sources,
        intake,
        Once(database),
        plane,
        LoopLag(),
        gate,
        Background(),
        agenda,
        later,
    )


def _plane(settings: Settings, ground: Ground, manager: Manager, gate: Gate | None) -> DataPlane:
    """Give the data plane with all that the settings say of who may ask, and who may call whom."""
    origins = frozenset(origin.encode() for origin in settings.allowed_origins)
    granted = frozenset(
        (caller, called) for caller, _, called in (p.partition(":") for p in settings.granted_calls)
    )
    plane = DataPlane(manager.routes, gate, origins=origins, granted=granted)
    if ground.port is not None:
        plane.chains = Chains(ground.port.here)
    plane.proxies = Proxies(settings.trusted_proxies)
    tell_of_ungranted(manager.routes, granted)
    return plane


def create_app(parts: Parts) -> FastAPI:
    """Make the application: health, metrics, problems; the admin routes join at its start."""
    app = FastAPI(
        title="xcore",
        summary="Runs plugins safely and answers for them over HTTP.",
        openapi_url=None,  # ours shows the plugins as well, to those who may call them
    )
    app.state.plane, app.state.manager, app.state.background = parts.plane, parts.manager, parts.background
    app.state.database = parts.database
    app.state.degraded, app.state.examine = parts.ground.degraded, parts.ground.examine
    app.state.metrics = metrics.registry(parts.plane, parts.manager, lambda: parts.lag.lag_seconds)
    app.state.metrics.register(metrics.Work(parts.agenda, parts.calls))
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(deferred.router)
    openapi.install(app, parts.manager.routes)
    errors.install(app)
    return app


@contextlib.asynccontextmanager
async def running(parts: Parts, app: FastAPI, integrations: list[Chosen]) -> AsyncIterator[None]:
    """Everything but the server, which takes requests meanwhile."""
    parts.plane.start()
    parts.lag.start()
    app.state.agenda, app.state.calls = parts.agenda, parts.calls
    shared = parts.database.file is None  # else nobody writes what this controller leaves out
    leads = parts.ground.leads if shared else (lambda: True)
    journal = Journal(parts.manager.bus, parts.database, leads=leads)
    joined = integrate(app, intake=parts.intake, once=parts.once, journal=journal, gate=parts.gate)
    installed = join_installed(integrations, app, parts.manager, background=parts.background)
    async with joined, installed, parts.ground.join(parts.manager, parts.sources):
        await parts.manager.start()
        for name, work in (("tasks", parts.agenda), ("calls", parts.calls)):
            parts.background.spawn(name, work.scheduler.run(parts.background.stopping))
        parts.plane.defers = True
        sync = answering(parts.manager, parts.plane, parts.ground)
        following = asyncio.create_task(parts.sources.follow(sync))
        watching = asyncio.create_task(_watch_folders(parts))
        try:
            yield
        finally:
            kept = parts.settings.on_exit == "keep"
            _log.info("requests are done; sandboxes %s", "run on" if kept else "are stopped")
            for task in (watching, following):
                task.cancel()
            await asyncio.gather(watching, following, return_exceptions=True)
            await parts.sources.aclose()
            try:
                await parts.manager.aclose(stop_instances=not kept)
            except XcoreError as error:
                _log.error("not all of it could be taken down: %s", error)
    hang_up(parts.ground)
    parts.plane.close()
    parts.lag.stop()


async def _watch_folders(parts: Parts) -> None:
    """Have the plugins directory read again when it changed."""
    while True:
        with contextlib.suppress(OSError):  # it is not there: reading it says so
            async for _ in changes(parts.settings.plugins_dir):
                parts.sources.changed.set()
        await asyncio.sleep(_AGAIN_SECONDS)


def prepare_state_dir(state_dir: Path) -> None:
    """Make it, or check the one that is there; raises StorageFull.

    Others may enter (sandboxes read their code there) but not write: what is secret in it is 0600, and a file that
    somebody else put there would be believed.
    """
    try:
        if not state_dir.exists():
            state_dir.mkdir(parents=True)
            state_dir.chmod(0o711)
        if state_dir.stat().st_mode & 0o002:
            raise StorageFull(
                f"others may write to the state directory {state_dir}; set XCORE_STATE_DIR to another"
            )
        probe = state_dir / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StorageFull(
            f"the state directory {state_dir} cannot be written ({error.strerror}); set XCORE_STATE_DIR"
        ) from error


def owner_id(state_dir: Path) -> str:
    """Give this controller's identity on a shared engine: made once, kept with its state."""
    store = FileStore(state_dir / "store")
    document = store.read("index", "owner")
    if document is None:
        document = {"id": secrets.token_hex(8)}
        store.write("index", "owner", document)
    return str(document["id"])
