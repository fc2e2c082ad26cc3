"""The `docker` engine: one hardened container per instance, on a local Docker Engine.

Docker's client is known here and in the modules named after it. Its calls block, so they run in threads of our own
(`dockercall`); events and logs have theirs. What exists is read back from the engine by our owner label, and nothing
without that label is ever touched.
"""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from xcore.errors import ImagePull, Problem, RuntimeUnavailable, WorkloadRejected
from xcore.manifest import Manifest, beyond_one_machine
from xcore.packing.target import sandbox
from xcore.runtimes import envelope
from xcore.runtimes.callsockets import CallSockets, unanswered
from xcore.runtimes.dockercall import Calls
from xcore.runtimes.dockergiven import PLACES, Given
from xcore.runtimes.dockerimage import check_image, pull, volumes_of
from xcore.runtimes.dockerlog import read_log
from xcore.runtimes.dockersocket import make_socket_dir
from xcore.runtimes.dockerstate import Outages, instance_of
from xcore.runtimes.dockersweep import end_what_is_left, sweep_volumes
from xcore.runtimes.envelope import Identity
from xcore.runtimes.handed import ReadSecrets, no_secrets
from xcore.runtimes.netns import Namespaces
from xcore.runtimes.threaded import follow
from xcore.runtimes.told import SOCKET_DIR
from xcore.runtimes.uids import UIDS, UIDS_REMAPPED, pick
from xcore.workload import Instance, LogLine, Workload

DEFAULT_HOST = "unix:///var/run/docker.sock"
CALL_SECONDS = 10
PULLS = 2
_GONE = frozenset({404, 409})
_INSTEAD = "let the image listen on a unix socket, and name it in spec.source.socket"


class DockerEngine:
    """See `Engine`. `state_dir` holds the socket directories of a controller that is not root."""

    def __init__(  # noqa: PLR0913  who it is, where it keeps things, whom it asks
        self,
        *,
        owner: str,
        image: str,
        seccomp: str,
        state_dir: Path,
        host: str = DEFAULT_HOST,
        read_secrets: ReadSecrets = no_secrets,
        calls: CallSockets | None = None,
    ) -> None:
        self._owner, self._image, self._seccomp, self._host = owner, image, seccomp, host
        self._sockets = None if os.geteuid() == 0 else state_dir / "run"
        self._given = Given(state_dir, read_secrets, calls)
        self._client = functools.cache(self._connect)
        self._outages = Outages()
        self._call = Calls(host, self._outages)
        self._out_of_memory: set[str] = set()
        self._reserved: set[int] = set()
        self._uids = UIDS
        self._namespaces, self._may_visit = Namespaces(), False
        self._pulls = asyncio.Semaphore(PULLS)
        self._runtimes: frozenset[str] = frozenset()
        self.target = sandbox()

    def name(self, workload: Workload | None) -> str:  # noqa: ARG002  all alike here
        return "docker"

    def isolates(self, workload: Workload | None) -> tuple[str, str, str]:
        dialled = workload is not None and workload.manifest.spec.source.tcp_port is not None
        proof = ", and every probe proves it from inside" if dialled else ""
        return "True", "Enforced", f"the sandbox has no network device but loopback{proof}"

    def image(self, workload: Workload | None) -> str:
        return workload.image if workload is not None and workload.image else self._image

    async def open(self) -> None:
        """Find out what this engine can do; raises RuntimeUnavailable, ImagePull."""
        info = await self._call(lambda: self._client().info())
        if any("userns" in option or "rootless" in option for option in info.get("SecurityOptions") or ()):
            self._uids = UIDS_REMAPPED
        self._runtimes = frozenset(info.get("Runtimes") or ())
        if not any("seccomp" in option for option in info.get("SecurityOptions") or ()):
            raise RuntimeUnavailable("this engine has no seccomp, so nothing can be isolated on it")
        await self.require_image()
        self._may_visit = await self._namespaces.permitted()
        await self._call(self._sweep_volumes)
        owned = {"label": f"{envelope.OWNER}={self._owner}"}
        await self._call(lambda: self._given.open(self._client().containers(all=True, filters=owned)))

    async def require_image(self) -> None:
        try:
            found = await self._call(lambda: self._client().inspect_image(self._image))
        except WorkloadRejected as error:
            detail = f"the image {self._image} is not on the engine; `make image` builds it"
            raise ImagePull(detail) from error
        self.target = sandbox(found["Config"].get("Labels"))

    async def pin(self, image: str, say: Callable[[str], None]) -> str:
        try:
            found = await self._call(self._client().inspect_image, image)
        except ImagePull:
            async with self._pulls:
                await pull(self._connect, image, say)
            found = await self._call(self._client().inspect_image, image)
        return check_image(found)

    def check(self, manifest: Manifest) -> Sequence[Problem]:
        if problems := [*beyond_one_machine(manifest), *unanswered(manifest, self._given.calls)]:
            return problems
        wanted, source = manifest.spec.runtime_class, manifest.spec.source
        if wanted and wanted not in self._runtimes:
            known = ", ".join(sorted(self._runtimes)) or "none"
            return [
                Problem("spec.runtimeClass", f"{wanted} is not registered with this engine; it has {known}")
            ]
        if source.tcp_port and (wanted or not self._may_visit):
            why = "under a runtimeClass" if wanted else "by a controller without CAP_SYS_ADMIN"
            return [Problem("spec.source.port", f"cannot be reached {why}: {_INSTEAD}")]
        return []

    async def start(self, workload: Workload) -> Instance:
        uid = await self._call(self._free_uid)
        try:
            return await self._call(self._start, workload, uid)
        finally:
            self._reserved.discard(uid)

    async def stop(self, instance: Instance, *, grace: float) -> None:
        """Ask, wait, insist. Waiting holds no thread: a slow end of one plugin is no other plugin's affair."""
        if not await self._call(self._signal, instance.id, "SIGTERM"):
            return
        if not await self._ended(instance.id, grace):
            await self._call(self._signal, instance.id, "SIGKILL")
            if not await self._ended(instance.id, CALL_SECONDS):
                raise RuntimeUnavailable("the engine does not end a container that was killed")
        await self._call(end_what_is_left, instance.id)
        await self._call(self._given.ended, instance.id)

    async def _ended(self, container: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        delay = 0.02
        while await self._call(self._lives, container):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, 0.25)
        return True

    async def remove(self, instance: Instance) -> None:
        await self._call(self._remove, instance.id)
        self._out_of_memory.discard(instance.id)

    async def list(self, plugin: str | None = None) -> Sequence[Instance]:
        labels = [f"{envelope.OWNER}={self._owner}"]
        if plugin is not None:
            labels.append(f"{envelope.PLUGIN}={plugin}")
        return await self._call(self._list, labels)

    async def watch(self) -> AsyncIterator[str]:
        """Follow the engine's events: ends and memory kills, by plugin."""
        async for event in follow(self._events, (requests.RequestException, DockerException)):
            attributes = event["Actor"]["Attributes"]
            if event["Action"] == "oom":
                self._out_of_memory.add(event["Actor"]["ID"])
            if event["Action"] == "destroy":
                await self._call(self._sweep_volumes)
            yield attributes.get(envelope.PLUGIN, "")
        self._outages.lost()
        raise RuntimeUnavailable("the engine closed its event stream")

    def logs(self, instance: Instance, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        return read_log(self._connect, instance.id, lines=lines, follow=follow)

    async def aclose(self) -> None:
        self._call.close()
        self._namespaces.close()
        if self._client.cache_info().currsize:
            self._client().close()

    def _connect(self, seconds: int | None = CALL_SECONDS) -> docker.APIClient:
        return docker.APIClient(self._host, timeout=seconds, version="auto")  # type: ignore[arg-type]  # None: no end

    # -- blocking, in threads -----------------------------------------------------------------------------------

    def _start(self, workload: Workload, uid: int) -> Instance:
        short_id = secrets.token_hex(4)
        client, image = self._client(), self.image(workload)
        volumes = volumes_of(client.inspect_image(image)) if workload.image else ()
        gid = uid if self._sockets is None else os.getegid()
        # Only root can give a file away, and under userns-remap it cannot tell to whom.
        reader = (uid, gid) if self._sockets is None and self._uids is UIDS else None
        secrets_dir, calls_dir = self._given.give(workload, short_id, owner=reader)
        identity = Identity(
            short_id=short_id,
            uid=uid,
            gid=gid,
            owner=self._owner,
            image=image,
            seccomp=self._seccomp,
            socket_dir=None if self._sockets is None else make_socket_dir(self._sockets / short_id),
            secrets_dir=secrets_dir,
            calls_dir=calls_dir,
            volumes=volumes,
        )
        body = envelope.create_body(workload, identity)
        try:
            created = client.create_container_from_config(body, envelope.container_name(workload, identity))
        except (APIError, requests.RequestException):
            self._given.take_back(short_id)
            raise
        try:
            self._given.made(workload, short_id, created["Id"])
            client.start(created["Id"])
        except (APIError, requests.RequestException, WorkloadRejected):
            self._remove(created["Id"])
            raise
        return self._instance(client.inspect_container(created["Id"]))

    def _signal(self, container: str, signal: str) -> bool:
        """Send it; False when there is nothing left to hear it."""
        client = self._client()
        try:
            if client.inspect_container(container)["State"]["Paused"]:
                client.unpause(container)
            client.kill(container, signal)
        except APIError as error:
            if error.status_code not in _GONE:
                raise
            return False
        return True

    def _lives(self, container: str) -> bool:
        try:
            return bool(self._client().inspect_container(container)["State"]["Running"])
        except NotFound:
            return False

    def _remove(self, container: str) -> None:
        try:
            client = self._client()
            mounts = client.inspect_container(container)["Mounts"]
            client.remove_container(container, v=True, force=True)
        except APIError as error:
            if error.status_code not in _GONE:
                raise
            return
        for mount in mounts:
            if self._sockets is not None and mount["Destination"] == SOCKET_DIR:
                shutil.rmtree(mount["Source"], ignore_errors=True)
            if mount["Destination"] in PLACES:
                self._given.take_back(Path(mount["Source"]).name)

    def _sweep_volumes(self) -> None:
        sweep_volumes(self._client(), f"{envelope.OWNER}={self._owner}")

    def _list(self, labels: Sequence[str]) -> Sequence[Instance]:
        instances = []
        client = self._client()
        for summary in client.containers(all=True, filters={"label": labels}):
            try:
                instances.append(self._instance(client.inspect_container(summary["Id"])))
            except NotFound:
                continue  # removed between the list and the look
        return instances

    def _instance(self, found: dict[str, Any]) -> Instance:
        killed = found["Id"] in self._out_of_memory
        return instance_of(found, outages=self._outages, killed=killed, visits=self._namespaces)

    def _free_uid(self) -> int:
        """Pick a uid that no sandbox of anybody on this engine has."""
        taken = {int(c["Labels"].get(envelope.UID) or 0) for c in self._client().containers(all=True)}
        uid = pick(self._uids, taken | self._reserved)
        self._reserved.add(uid)
        return uid

    def _events(self) -> Any:
        filters = {
            "type": "container",
            "label": f"{envelope.OWNER}={self._owner}",
            "event": ["die", "oom", "destroy"],
        }
        # A little of the past: what happened between the last stream and this one.
        since = int(time.time()) - 5
        return self._connect(None).events(decode=True, filters=filters, since=since)
