"""The `inprocess` engine: trusted plugins inside the controller's process, on its event loop.

No isolation at all: a trusted plugin can do whatever the controller can, which is why only its operator may allow
one. What is contained are mistakes: an import that fails, hangs or calls `sys.exit`, a startup that raises, two
plugins with the same module names. A blocked loop or `os._exit` is not.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from xcore.clock import Clock, SystemClock
from xcore.errors import NotSupported, Problem, WorkloadRejected
from xcore.manifest import Manifest, beyond_one_machine
from xcore.packing.target import here
from xcore.plugin.asgi import ASGIApp
from xcore.plugin.calling import Calls, nobody
from xcore.plugin.contract import Context, Plugin
from xcore.plugin.host import Host, Spec, make_context, resolve
from xcore.plugin.legacy.adapter import adapt
from xcore.plugin.legacy.package import place
from xcore.runtimes.callsockets import CallSockets, unanswered
from xcore.runtimes.guest import SPEAKER, Guest
from xcore.runtimes.guesttasks import GuestTasks
from xcore.runtimes.handed import ReadSecrets, no_secrets
from xcore.runtimes.hints import Hints
from xcore.runtimes.private import PrivatePackage
from xcore.runtimes.told import may_call, plugin_spec
from xcore.workload import Instance, LogLine, Workload

CLOSING_GRACE = 5.0


def _found(spec: Spec, context: Context, package: PrivatePackage) -> type[Plugin] | ASGIApp:
    if spec.legacy is not None:
        return adapt(spec, context, package.load)
    return resolve(spec.entrypoint, package.load)


class InProcessEngine:
    """See `Engine`."""

    def __init__(
        self,
        *,
        read_secrets: ReadSecrets = no_secrets,
        calls: CallSockets | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._read_secrets, self._clock = read_secrets, clock or SystemClock()
        self._calls = calls
        self._guests: dict[str, Guest] = {}
        self._numbers = itertools.count(1)
        self._hints = Hints()
        self._tasks: GuestTasks | None = None

    def name(self, workload: Workload | None) -> str:  # noqa: ARG002  all alike here
        return "inprocess"

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:  # noqa: ARG002  all alike here
        return "False", "Unsupported", "a trusted plugin runs inside the controller"

    def image(self, workload: Workload | None) -> str:  # noqa: ARG002  all alike here
        return ""

    target = here()

    async def open(self) -> None:
        """Nothing to find: nothing outlives a process inside it."""
        self._tasks = GuestTasks(asyncio.get_running_loop(), SPEAKER)

    def check(self, manifest: Manifest) -> Sequence[Problem]:
        if manifest.spec.source.image is not None:
            return [
                Problem(
                    "spec.source.image",
                    "must be absent: a trusted plugin is a folder with code; an image is Sandboxed",
                )
            ]
        problems = [*beyond_one_machine(manifest), *unanswered(manifest, self._calls)]
        if manifest.spec.runtime_class is not None:
            problems.append(Problem("spec.runtimeClass", "must be absent: a trusted plugin has no sandbox"))
        if manifest.spec.dependencies:
            what = "must be empty: a trusted plugin has the libraries of the controller, and no others"
            problems.append(Problem("spec.dependencies", what))
        if manifest.spec.env:
            what = "must be empty: a trusted plugin has the controller's environment; what it needs goes into config"
            problems.append(Problem("spec.env", what))
        return problems

    async def pin(self, image: str, say: Callable[[str], None]) -> str:  # noqa: ARG002
        raise NotSupported(f"a trusted plugin has no image, and so not {image}")

    async def start(self, workload: Workload) -> Instance:
        """Return at once; the import runs in a thread, the plugin's startup on the loop."""
        if workload.manifest.spec.entrypoint is None or workload.code is None:
            raise WorkloadRejected("a trusted plugin needs an entrypoint")
        spec = msgspec.json.decode(plugin_spec(workload), type=Spec)
        id = secrets.token_hex(6)  # noqa: A001  the word of Instance
        context = make_context(
            spec, self._read_secrets(workload.manifest.spec.secrets), self._calls_of(workload, id)
        )
        module = workload.name.replace("-", "_")
        prefix = f"xcore_trusted_{module}_{workload.revision[:12]}_{next(self._numbers)}"
        code = workload.code
        if spec.legacy is not None:
            code /= place(spec.entrypoint).folder
        package = PrivatePackage(prefix, code, rooted=spec.legacy is not None)
        guest = Guest(
            workload,
            id=id,
            make=lambda: Host(_found(spec, context, package), context),
            package=package,
            clock=self._clock,
            changed=self._hints.give,
        )
        self._guests[guest.id] = guest
        return guest.instance()

    def _calls_of(self, workload: Workload, instance: str) -> Calls:
        if self._calls is None or not may_call(workload):
            return nobody
        return self._calls.plug(workload.name, instance)

    async def stop(self, instance: Instance, *, grace: float) -> None:
        guest = self._guests.get(instance.id)
        if guest is not None:
            await guest.stop(grace)

    async def remove(self, instance: Instance) -> None:
        guest = self._guests.get(instance.id)
        if guest is not None:
            await guest.stop(0)
            self._guests.pop(instance.id, None)
            if self._calls is not None:
                self._calls.unplug(instance.id)

    async def list(self, plugin: str | None = None) -> Sequence[Instance]:
        instances = [guest.instance() for guest in self._guests.values()]
        return [i for i in instances if plugin is None or i.plugin == plugin]

    def watch(self) -> AsyncIterator[str]:
        return self._hints.follow()

    async def logs(self, instance: Instance, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        guest = self._guests.get(instance.id)
        if guest is not None:
            async for line in guest.log.read(lines=lines, follow=follow):
                yield line

    async def aclose(self) -> None:
        for instance in await self.list():
            await self.stop(instance, grace=CLOSING_GRACE)
            await self.remove(instance)
        if self._tasks is not None:
            self._tasks.remove()
            self._tasks = None
