"""An engine in memory: it keeps the promises of `Engine`, and breaks them when told to."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

from xcore.clock import Clock, sleep
from xcore.errors import (
    ImagePull,
    Problem,
    RuntimeUnavailable,
    UpstreamUnreachable,
    WorkloadRejected,
    XcoreError,
)
from xcore.manifest import Manifest
from xcore.packing.target import here
from xcore.workload import Exit, ExitReason, Instance, LogLine, Workload


@dataclass(slots=True)
class Behaviour:
    """How the instances of one revision behave; changes take effect at once.

    `ready_after`: seconds to the end of start-up (infinite: never). `exits_after`: seconds to an end with `code`,
    after having written `says`.
    """

    ready_after: float = 0.0
    exits_after: float | None = None
    code: int = 1
    ready: bool = True
    live: bool = True
    says: str = ""
    actions: tuple[str, ...] = ("greet",)


@dataclass(eq=False, slots=True)
class FakeEndpoint:
    """Answers probes as the behaviour says. `asked` holds the paths, oldest first."""

    behaviour: Behaviour
    clock: Clock
    born: float
    asked: list[str] = field(default_factory=list)
    started: bool = False  # once it has, it has
    ended: bool = False

    async def get(self, path: str, *, seconds: float, limit: int) -> tuple[int, bytes]:  # noqa: ARG002
        self.asked.append(path)
        out = (
            self.behaviour.exits_after is not None
            and self.clock.time() >= self.born + self.behaviour.exits_after
        )
        if self.ended or out:
            raise UpstreamUnreachable("nobody listens")
        if path == "/describe":
            return 200, json.dumps({"actions": [{"name": name} for name in self.behaviour.actions]}).encode()
        self.started = started = self.started or self.clock.time() >= self.born + self.behaviour.ready_after
        good = {"/ready": started and self.behaviour.ready, "/live": self.behaviour.live}.get(path, started)
        return (200 if good else 503), b""


@dataclass(slots=True)
class _Box:
    """One instance as the host has it."""

    owner: str
    workload: Workload
    instance: Instance
    endpoint: FakeEndpoint
    lines: list[LogLine] = field(default_factory=list)


class FakeHost:
    """What outlives an engine's client: instances of all owners, and how revisions behave."""

    def __init__(self) -> None:
        self.boxes: dict[str, _Box] = {}
        self.behaviours: defaultdict[str, Behaviour] = defaultdict(Behaviour)
        self.born: list[Instance] = []  # everything ever started, in order
        self.watchers: list[asyncio.Queue[str | None]] = []
        self.written = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()


class FakeEngine:
    """See `Engine`. `away`: no call is answered. `refuse`: what `start` raises. `starting_takes`, seconds.

    `fail(call, error)` makes the next such call raise, `after=True` once it has done its work. `images`: the ids of
    those it has, by name.
    """

    def __init__(self, clock: Clock, *, owner: str = "first", host: FakeHost | None = None) -> None:
        self.host = host or FakeHost()
        self.refuse: WorkloadRejected | None = None
        self.starting_takes = 0.0
        self.unsupported: list[Problem] = []
        self.images: dict[str, str] = {}
        self.closed = False
        self._clock, self._owner = clock, owner
        self._away = False
        self._faults: dict[tuple[str, bool], list[XcoreError]] = defaultdict(list)

    # -- what a test does to it ---------------------------------------------------------------------------------

    def behaves(self, revision: str) -> Behaviour:
        return self.host.behaviours[revision]

    @property
    def away(self) -> bool:
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        if away:
            for watcher in self.host.watchers:
                watcher.put_nowait(None)

    def fail(self, call: str, error: XcoreError, *, after: bool = False) -> None:
        self._faults[call, after].append(error)

    def crash(self, instance: str, reason: ExitReason = ExitReason.Error, code: int | None = 1) -> None:
        """End an instance."""
        box = self.host.boxes[instance]
        if box.instance.exit is None:
            box.endpoint.ended = True
            box.instance = replace(box.instance, exit=Exit(reason, code, self._clock.time()))
            self._tell(box.instance.plugin)

    def vanish(self, instance: str) -> None:
        """Remove an instance behind everybody's back."""
        box = self.host.boxes.pop(instance)
        box.endpoint.ended = True
        self._tell(box.instance.plugin)

    def oom(self, instance: str) -> None:
        """Kill a child process of an instance for memory; the instance lives on."""
        box = self.host.boxes[instance]
        box.instance = replace(box.instance, oom=True)
        self._tell(box.instance.plugin)

    def say(self, instance: str, text: str) -> None:
        self.host.boxes[instance].lines.append(LogLine("", text, instance))
        self.host.written.set()

    def found(self, plugin: str | None = None) -> list[Instance]:
        """Look without asking: what there is of this owner, ended or not."""
        mine = [box.instance for box in self.host.boxes.values() if box.owner == self._owner]
        return [instance for instance in mine if plugin in {None, instance.plugin}]

    def alive(self, plugin: str | None = None) -> list[Instance]:
        return [instance for instance in self.found(plugin) if instance.exit is None]

    # -- Engine -------------------------------------------------------------------------------------------------

    def name(self, workload: Workload | None) -> str:  # noqa: ARG002  all alike here
        return "fake"

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:  # noqa: ARG002
        return "True", "Enforced", "nothing leaves this memory"

    def image(self, workload: Workload | None) -> str:  # noqa: ARG002
        return "fake"

    target = here()

    async def open(self) -> None:
        await self._called("open")

    def check(self, manifest: Manifest) -> Sequence[Problem]:  # noqa: ARG002
        return self.unsupported

    async def pin(self, image: str, say: Callable[[str], None]) -> str:
        await self._called("pin")
        say(f"looking for {image}")
        if image not in self.images:
            raise ImagePull(f"the image {image} cannot be pulled: there is no registry")
        return self.images[image]

    async def start(self, workload: Workload) -> Instance:
        await self._called("start")
        if self.refuse is not None:
            raise self.refuse
        if self.starting_takes:
            await sleep(self._clock, self.starting_takes)
        now = self._clock.time()
        behaviour = self.behaves(workload.revision)
        endpoint = FakeEndpoint(behaviour, self._clock, now)
        instance = Instance(
            id=f"fake-{len(self.host.born):012}",
            plugin=workload.name,
            revision=workload.revision,
            generation=workload.generation,
            started_at=now,
            endpoint=endpoint,
        )
        self.host.boxes[instance.id] = _Box(self._owner, workload, instance, endpoint)
        self.host.born.append(instance)
        if behaviour.exits_after is not None:
            task = asyncio.create_task(self._run_out(instance.id, behaviour, behaviour.exits_after))
            self.host.tasks.add(task)
            task.add_done_callback(self.host.tasks.discard)
        self._failed("start", after=True)
        return instance

    async def stop(self, instance: Instance, *, grace: float) -> None:  # noqa: ARG002
        await self._called("stop")
        if instance.id in self.host.boxes:
            self.crash(instance.id, ExitReason.Completed, 0)
        self._failed("stop", after=True)

    async def remove(self, instance: Instance) -> None:
        await self._called("remove")
        box = self.host.boxes.pop(instance.id, None)
        if box is not None:
            box.endpoint.ended = True
            self._tell(instance.plugin)

    async def list(self, plugin: str | None = None) -> Sequence[Instance]:
        await self._called("list")
        return self.found(plugin)

    async def watch(self) -> AsyncIterator[str]:
        await self._called("watch")
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.host.watchers.append(queue)
        try:
            while (plugin := await queue.get()) is not None:
                yield plugin
        finally:
            self.host.watchers.remove(queue)
        raise RuntimeUnavailable("the event stream was cut")

    async def logs(self, instance: Instance, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        await self._called("logs")
        box = self.host.boxes.get(instance.id)
        if box is None:
            return
        told = max(0, len(box.lines) - lines)
        while True:
            for line in box.lines[told:]:
                yield line
            told = len(box.lines)
            if not follow or box.endpoint.ended:
                return
            self.host.written.clear()
            await self.host.written.wait()

    async def aclose(self) -> None:
        self.closed = True
        await asyncio.sleep(0)

    async def _called(self, call: str) -> None:
        await asyncio.sleep(0)
        if self._away:
            raise RuntimeUnavailable("the engine does not answer")
        self._failed(call, after=False)

    def _failed(self, call: str, *, after: bool) -> None:
        if self._faults[call, after]:
            raise self._faults[call, after].pop(0)

    async def _run_out(self, instance: str, behaviour: Behaviour, seconds: float) -> None:
        await sleep(self._clock, seconds)
        if instance in self.host.boxes:
            if behaviour.says:
                self.say(instance, behaviour.says)
            self.crash(instance, ExitReason.Error if behaviour.code else ExitReason.Completed, behaviour.code)

    def _tell(self, plugin: str) -> None:
        self.host.written.set()
        if not self._away:
            for watcher in self.host.watchers:
                watcher.put_nowait(plugin)
