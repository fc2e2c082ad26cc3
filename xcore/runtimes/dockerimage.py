"""Images of other people: pulling what an engine lacks, and what in an image cannot be run as a plugin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import Any

import requests
from docker.errors import APIError, DockerException

from xcore.errors import ImagePull, NotSupported, Problem
from xcore.runtimes.threaded import follow

PULL_SECONDS = 600.0
MAX_VOLUMES = 8
_KERNELS_OWN = frozenset({"proc", "sys", "dev"})


async def pull(connect: Callable[[], Any], reference: str, say: Callable[[str], None]) -> None:
    """Pull with the engine's own credentials; raises ImagePull with the registry's last word."""
    layers: dict[str, bool] = {}  # whether each is here
    try:
        async with (
            asyncio.timeout(PULL_SECONDS),
            aclosing(follow(lambda: _Pulling(connect, reference), ())) as events,
        ):
            say(f"pulling {reference}")
            async for event in events:
                if "error" in event:
                    raise ImagePull(f"the image {reference} cannot be pulled: {str(event['error'])[:200]}")
                if event.get("id") and event["status"] in _LAYER:
                    layers[event["id"]] = event["status"] in _HERE
                    say(f"pulling {reference}: {sum(layers.values())} of {len(layers)} layers")
    except TimeoutError:
        raise ImagePull(f"the image {reference} was not pulled within {PULL_SECONDS:g} s") from None


_HERE = frozenset({"Already exists", "Pull complete"})
_LAYER = _HERE | {"Pulling fs layer"}


class _Pulling:
    """The engine's events; a failure is the last of them. Left early, its thread ends with the next event."""

    def __init__(self, connect: Callable[[], Any], reference: str) -> None:
        self._connect, self._reference = connect, reference

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            yield from self._connect().pull(self._reference, stream=True, decode=True)
        except APIError as error:
            yield {"error": error.explanation}
        except (requests.RequestException, DockerException):
            yield {"error": "the engine does not answer"}

    def close(self) -> None:
        """The engine finishes on its own what it began."""


def check_image(found: dict[str, Any]) -> str:
    """Give the id of an image the engine has; raises NotSupported for what cannot be run."""
    problems = [Problem("spec.source.image", text) for text in _faults(found.get("Config") or {})]
    if problems:
        raise NotSupported("the image cannot be run as a plugin", problems)
    return str(found["Id"])


def volumes_of(found: dict[str, Any]) -> tuple[str, ...]:
    """Give the directories it declares as volumes: unbounded disk elsewhere, small and of memory here."""
    return tuple(sorted((found.get("Config") or {}).get("Volumes") or ()))


def _faults(config: dict[str, Any]) -> Iterator[str]:
    workdir, volumes = config.get("WorkingDir") or "/", sorted(config.get("Volumes") or ())
    if not _is_plain(workdir):
        # A directory through a descriptor the runtime left open led out of the container (CVE-2024-21626).
        yield f"its WORKDIR must lie outside /proc, /sys and /dev, and is {workdir[:100]}"
    if not (config.get("Entrypoint") or config.get("Cmd")):
        yield "must have an ENTRYPOINT or CMD: there is nothing to run"
    if len(volumes) > MAX_VOLUMES:
        yield f"may declare at most {MAX_VOLUMES} volumes, and has {len(volumes)}"
    for volume in volumes[:MAX_VOLUMES]:
        if volume == "/" or not _is_plain(volume):
            yield f"its VOLUME must be a directory of its own, and is {volume[:100]}"


def _is_plain(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return parts[:1] == ("/",) and ".." not in parts and not _KERNELS_OWN.intersection(parts[1:2])
