"""Sandboxes of the `hello` example, and bare containers in the same envelope; everything carries one owner's label."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import DockerException, ImageNotFound

from bench.figures import BenchError
from bench.processes import workspace
from sandbox_image.tag import image_tag
from xcore.bundle import Snapshots
from xcore.errors import UpstreamError, XcoreError
from xcore.manifest import parse
from xcore.runtimes import envelope
from xcore.runtimes.docker import DEFAULT_HOST, DockerEngine
from xcore.runtimes.uids import UIDS
from xcore.workload import Instance, Workload

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.005


class Sandboxes:
    """`client` is the engine's own API, for what the platform does not do: bare containers, and looking inside."""

    def __init__(self, directory: Path, client: docker.APIClient) -> None:
        self.client, self.image = client, image_tag()
        self._owner = f"bench-{secrets.token_hex(8)}"
        self._seccomp = importlib.resources.files("sandbox_image").joinpath("seccomp.json").read_text("utf-8")
        self.engine = DockerEngine(
            owner=self._owner, image=self.image, seccomp=self._seccomp, state_dir=directory
        )
        manifest = parse((EXAMPLES / "hello/plugin.yaml").read_bytes(), name="plugin.yaml")
        digest, code = Snapshots(directory / "snapshots").take(EXAMPLES / "hello")
        self.workload = Workload(manifest, digest, 1, code)

    async def start(self) -> Instance:
        return await self.engine.start(self.workload)

    async def wait(self, instance: Instance, path: str) -> None:
        """Return at the first 200; raises BenchError when none comes."""
        assert instance.endpoint is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    with contextlib.suppress(UpstreamError):
                        if (await instance.endpoint.get(path, seconds=5.0, limit=1024))[0] == 200:
                            return
                    await asyncio.sleep(POLL_SECONDS)
        raise BenchError(f"the sandbox does not answer {path}")

    def running(self) -> int:
        """Count the running containers of this image, whoever's they are."""
        return len(self.client.containers(filters={"ancestor": self.image}))

    def start_bare(self, command: Sequence[str]) -> str:
        """Start a container with the sandbox's create options and another command; gives its id."""
        uid = secrets.choice(UIDS)
        identity = envelope.Identity(
            short_id=secrets.token_hex(4),
            uid=uid,
            gid=uid,
            owner=self._owner,
            image=self.image,
            seccomp=self._seccomp,
        )
        body = {**envelope.create_body(self.workload, identity), "Entrypoint": list(command)}
        name = envelope.container_name(self.workload, identity)
        created = str(self.client.create_container_from_config(body, name)["Id"])  # type: ignore[no-untyped-call]
        self.client.start(created)
        return created

    def remove(self, container: str) -> None:
        self.client.remove_container(container, v=True, force=True)

    async def close(self) -> None:
        """Leave nothing: whatever has our label goes."""
        await self.engine.aclose()
        remove_owned(self.client, self._owner)


def remove_owned(client: docker.APIClient, owner: str) -> None:
    for found in client.containers(all=True, filters={"label": f"{envelope.OWNER}={owner}"}):
        client.remove_container(found["Id"], v=True, force=True)


def require_engine() -> docker.APIClient:
    """The engine's client; raises BenchError when there is no engine, or no image on it."""
    try:
        client = docker.APIClient(DEFAULT_HOST, timeout=60, version="auto")
        client.inspect_image(image_tag())  # type: ignore[no-untyped-call]
    except ImageNotFound:
        raise BenchError(f"the image {image_tag()} is missing: `make image` builds it") from None
    except (DockerException, requests.RequestException):
        raise BenchError("a Docker engine that answers is missing") from None
    return client


@contextlib.contextmanager
def sandboxes() -> Iterator[tuple[Sandboxes, asyncio.Runner]]:
    """Sandboxes, and the loop to start them on; both are gone after the block."""
    client = require_engine()
    with workspace() as directory, asyncio.Runner() as runner:
        made = Sandboxes(directory, client)
        try:
            runner.run(made.engine.open())
            yield made, runner
        except XcoreError as error:
            raise BenchError(f"the engine fails: {error.detail}") from error
        except (DockerException, requests.RequestException) as error:
            raise BenchError(f"the engine fails: {error}") from error
        finally:
            runner.run(made.close())


def instance_pid(client: docker.APIClient, container: str) -> int:
    """The process id of the container's first process, as the host sees it."""
    state: dict[str, Any] = client.inspect_container(container)["State"]
    if not state["Pid"]:
        raise BenchError("a container ended before it could be measured")
    return int(state["Pid"])
