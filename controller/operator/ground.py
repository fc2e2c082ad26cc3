"""A controller in a cluster, put together: mirrors, runtime, lease, status."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from controller.dataplane.callport import CallPort
from controller.finding import Finding
from controller.ground import SERVICE_ACCOUNT, Ground
from controller.listening import listen
from controller.operator.codemaps import Bundles, CodeMaps
from controller.operator.diagnosis import diagnosis
from controller.operator.examine import examine
from controller.operator.lease import Leadership
from controller.operator.ledger import ResourceLedger
from controller.operator.resources import PluginResources
from controller.operator.statuses import StatusWriter
from controller.settings import Settings
from controller.values import is_loopback
from xcore.bundle import Snapshots
from xcore.clock import Clock, SystemClock
from xcore.errors import XcoreError
from xcore.manager import Manager
from xcore.runtimes.callsockets import CallSockets
from xcore.runtimes.inprocess import InProcessEngine
from xcore.runtimes.kubernetes.callers import PodCallers
from xcore.runtimes.kubernetes.client import Cluster, Object, connect
from xcore.runtimes.kubernetes.numbers import authority
from xcore.runtimes.kubernetes.objects import Surroundings
from xcore.runtimes.kubernetes.probe import Place
from xcore.runtimes.kubernetes.runtime import KubernetesRuntime
from xcore.runtimes.split import Split
from xcore.runtimes.supervised import Supervised
from xcore.sources import Sources

# The labels of the controller's pods: who may reach a sandbox (the chart sets them).
CONTROLLER_LABELS = {"app.kubernetes.io/name": "xcore", "app.kubernetes.io/component": "controller"}
DEFAULT_NAMESPACE = "xcore-plugins"


async def cluster_ground(settings: Settings) -> Ground:
    """Reach the cluster; raises RuntimeUnavailable where none is known."""
    return _Operator(settings, await _reached(settings)).ground()


async def examined(settings: Settings) -> list[Finding]:
    """Give what the doctor finds, looking at the cluster as a controller of these settings would."""
    try:
        cluster = await _reached(settings)
    except XcoreError as error:
        return [
            Finding(
                "api-server", "fail", error.detail, "XCORE_KUBECONFIG names a file that tells how to reach it"
            )
        ]
    try:
        return await _examined(settings, cluster, _surroundings(settings, cluster))
    finally:
        await cluster.aclose()


async def _examined(settings: Settings, cluster: Cluster, surroundings: Surroundings) -> list[Finding]:
    return list(diagnosis(await examine(cluster, surroundings, settings.plugin_namespaces)))


async def _reached(settings: Settings) -> Cluster:
    return await connect(str(settings.kubeconfig) if settings.kubeconfig else None)


def own_namespace() -> str:
    """Give the namespace of the pod this runs in; empty outside a cluster."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text("ascii").strip()
    except OSError:
        return ""


def _listening(cluster: Cluster, settings: Settings, *, inside: bool) -> tuple[Place, ...]:
    """Give what a sandbox would reach if its network were open: the API server, and this very controller."""
    own = [(_own_address(settings), settings.port)] if inside else []
    return (cluster.address, *own)


def _own_address(settings: Settings) -> str:
    """Give this pod's own address, of the family that is listened on; raises XcoreError where there is none."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        found = str(socket.getaddrinfo(socket.gethostname(), None, family)[0][4][0])
    except OSError as error:
        raise XcoreError(f"this pod's own address is not known: {error.strerror}") from error
    if is_loopback(found):
        raise XcoreError("this pod's own address is not known: its host name leads to itself")
    return found


def _surroundings(settings: Settings, cluster: Cluster) -> Surroundings:
    namespace = own_namespace()
    return Surroundings(
        image=settings.sandbox_image,
        default_namespace=(*settings.plugin_namespaces, DEFAULT_NAMESPACE)[0],
        namespace=namespace,
        controller=CONTROLLER_LABELS if namespace else {},
        listens=_listening(cluster, settings, inside=bool(namespace)),
        calls=(settings.calls_address or "") if namespace else "",
    )


class _Operator:
    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings, self._cluster = settings, cluster
        self._clock: Clock = SystemClock()
        namespaces = settings.plugin_namespaces
        self._surroundings = surroundings = _surroundings(settings, cluster)
        default = surroundings.default_namespace
        self._leadership = Leadership(
            cluster.apart(self._clock), surroundings.namespace or default, socket.gethostname()
        )
        self._examining = asyncio.Lock()
        self._runtime = KubernetesRuntime(
            cluster, surroundings, namespaces=namespaces, leads=self._leadership.leads, clock=self._clock
        )
        self._snapshots = Snapshots(settings.state_dir / "snapshots")
        self._bundles = Bundles(cluster, self._snapshots)
        self._resources = PluginResources(
            cluster, namespaces, self._bundles, changed=self._changed, clock=self._clock
        )
        self._ledger = ResourceLedger(
            cluster, self._resources, self._snapshots, bundles=self._bundles, default=default
        )
        self._sources: Sources | None = None

    def ground(self) -> Ground:
        code = CodeMaps(self._cluster, self._snapshots, version=self._resources.map_version)
        calls = CallSockets(self._settings.state_dir / "calls")
        trusted = Supervised(InProcessEngine(calls=calls), clock=self._clock)
        runtime = Split(sandboxed=self._runtime, trusted=trusted)
        return Ground(
            runtime=runtime,
            ledger=self._ledger,
            doors=[self._resources],
            preparations=[code, self._bundles],
            join=self._join,
            calls=calls,
            port=self._port(),
            degraded=self._degraded,
            leads=self._leadership.leads,
            examine=self._examine,
        )

    def _port(self) -> CallPort | None:
        """Where pods call: inside the cluster alone, for a policy can let them out to nothing else."""
        surroundings = self._surroundings
        if not surroundings.calls:
            return None
        port = surroundings.calls_port
        listener = listen(self._settings.host, port, setting="XCORE_CALLS_ADDRESS")
        callers = PodCallers(self._cluster.apart(self._clock), self._runtime.running, self._clock)
        return CallPort(listener, authority(_own_address(self._settings), port), callers.identify)

    def _changed(self, item: Object) -> None:
        if self._sources is not None:
            if self._resources.is_news(item):
                self._sources.changed.set()
            self._statuses.look_at(item)

    async def _examine(self) -> list[Finding]:
        """One at a time, with a pace of its own: nobody waits for a doctor."""
        async with self._examining:
            return await _examined(self._settings, self._cluster.apart(self._clock), self._surroundings)

    def _degraded(self) -> list[str]:
        troubles = (*self._resources.troubles(), self._leadership.trouble, self._statuses.trouble)
        return [f"cluster: {trouble}" for trouble in troubles if trouble]

    @contextlib.asynccontextmanager
    async def _join(self, manager: Manager, sources: Sources) -> AsyncIterator[None]:
        leads = self._leadership.leads
        self._statuses = StatusWriter(self._cluster, manager, self._resources, leads=leads, clock=self._clock)
        self._sources = sources
        self._leadership.on_change = self._lead_changed
        tasks = [
            *self._resources.start(),
            asyncio.create_task(self._leadership.run()),
            asyncio.create_task(self._statuses.run()),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(XcoreError):  # it runs out by itself
                await self._leadership.give_up()
            await self._cluster.aclose()

    def _lead_changed(self) -> None:
        self._runtime.look_at_all()
        self._statuses.look_at_all()
