"""Calls of the engine's client, which block: in threads of our own, few and bounded, and with our own errors."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import requests
from docker.errors import APIError, DockerException, ImageNotFound

from xcore.errors import ImagePull, RuntimeUnavailable, WorkloadRejected
from xcore.runtimes.dockerstate import Outages

P = ParamSpec("P")
T = TypeVar("T")
THREADS = 8


class Calls:
    """`await calls(function, ...)`; raises RuntimeUnavailable, WorkloadRejected, ImagePull. `host` is named in sentences."""

    def __init__(self, host: str, outages: Outages) -> None:
        self._host, self._outages = host, outages
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._threads, functools.partial(function, *args, **kwargs))
        except ImageNotFound as error:
            raise ImagePull(f"the image is not on the engine: {_short(error.explanation)}") from error
        except APIError as error:
            if error.is_server_error() and "OCI runtime" not in str(error.explanation):
                raise self._away(error) from error
            raise WorkloadRejected(f"the engine refused: {_short(error.explanation)}") from error
        except (requests.RequestException, DockerException) as error:
            raise self._away(error) from error
        self._outages.seen()
        return result

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _away(self, error: Exception) -> RuntimeUnavailable:
        self._outages.lost()
        return RuntimeUnavailable(
            f"the Docker engine at {self._host} does not answer ({type(error).__name__}); start it, or set XCORE_DOCKER_HOST"
        )


def _short(explanation: object) -> str:
    return str(explanation).splitlines()[0][:200]
