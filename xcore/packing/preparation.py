"""Packed dependencies for the plugins of a controller: what `sources` calls in the background."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xcore.errors import InvalidBundle
from xcore.instance_spec import Isolation
from xcore.loader import Declared
from xcore.packing.lock import LOCK, MAX_BYTES, Lock, read, require
from xcore.packing.sites import Sites
from xcore.packing.target import Target
from xcore.packing.uv import Job
from xcore.sources import Prepared

AT_ONCE = 2


class Packing:
    """See `Preparation`. The lock is part of the plugin's code, so another lock is another revision."""

    fresh_seconds: float | None = None

    def __init__(self, sites: Sites, target: Target, provided: Mapping[str, str]) -> None:
        self._sites, self._target, self._provided = sites, target, provided
        self._given: dict[str, Path] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="packing")

    def key(self, declared: Declared) -> str | None:
        """Name code and dependencies; what was given for them is not collected while they are declared."""
        manifest = declared.manifest
        if manifest is None or declared.code is None or not manifest.spec.dependencies:
            return None
        if manifest.spec.isolation is Isolation.TRUSTED:
            return None  # refused by its engine
        key = " ".join([declared.digest, *sorted(manifest.spec.dependencies)])
        with contextlib.suppress(OSError):
            os.utime(self._given.get(key, ""))
        return key

    async def prepare(self, declared: Declared, say: Callable[[str], None]) -> Prepared:
        assert declared.manifest is not None
        assert declared.code is not None
        lock = await asyncio.to_thread(read_lock, declared.code)
        if lock is None:
            raise InvalidBundle(f"there is no {LOCK} for spec.dependencies: run `xcore pack DIR`")
        require(lock, declared.manifest, self._provided)
        say("dependencies: waiting for those of other plugins")
        async with self._turns:
            site = await self._take(lock, say)
        self._given[str(self.key(declared))] = site
        return Prepared(site=site)

    async def _take(self, lock: Lock, say: Callable[[str], None]) -> Path:
        """Unpack in a thread; when this is cancelled, the thread is told and waited for."""
        loop = asyncio.get_running_loop()

        def tell(text: str) -> None:
            loop.call_soon_threadsafe(say, f"dependencies: {text}")

        job = Job(tell)
        taking = loop.run_in_executor(self._threads, self._sites.take, lock, self._target, job)
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            job.cancel()
            await asyncio.wait({taking})
            taking.exception()
            raise


def read_lock(folder: Path) -> Lock | None:
    """The lock in a folder, None where there is none; raises InvalidBundle."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidBundle(f"{LOCK} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        return read(file.read(MAX_BYTES + 1))
