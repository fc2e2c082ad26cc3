"""Choosing where sandboxed plugins run: what the settings ask for, or, with `auto`, the best that is really there."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from controller.settings import Settings
from controller.values import is_loopback
from xcore.errors import ImagePull, RuntimeUnavailable, XcoreError
from xcore.runtimes.callsockets import CallSockets
from xcore.runtimes.handed import ReadSecrets
from xcore.runtimes.process import ProcessEngine
from xcore.runtimes.seams import Engine
from xcore.runtimes.trial import trial

_log = logging.getLogger("xcore.controller")


async def choose_engine(
    settings: Settings, owner: str, read_secrets: ReadSecrets, calls: CallSockets
) -> Engine:
    """Open and return the engine; raises RuntimeUnavailable or ImagePull with what to do about it.

    `docker` named outright refuses where it cannot be had. `auto` takes it when it answers, has the image and
    a trial sandbox can be reached; else it takes `process`, on loopback only, and says so.
    """
    if settings.runtime == "process":
        return await _process(settings, read_secrets, calls)
    # Docker's client is 8 MB that child processes and a cluster do without; the controller's image does not have it.
    containers: Any = importlib.import_module("controller.containers")
    engine: Engine = containers.docker_engine(settings, owner, read_secrets, calls)
    try:
        await engine.open()
        if settings.runtime == "auto":
            await trial(engine, settings.state_dir)
    except XcoreError as error:
        await engine.aclose()
        if settings.runtime == "docker":
            raise
        _without_docker(settings, error)
        return await _process(settings, read_secrets, calls)
    _log.info("sandboxes run in Docker containers")
    return engine


def _without_docker(settings: Settings, error: XcoreError) -> None:
    """Say why it has to be; raises where it may not be."""
    if not is_loopback(settings.host):
        kind = ImagePull if isinstance(error, ImagePull) else RuntimeUnavailable
        raise kind(
            f"{error.detail}; the process runtime is for loopback only, so nothing is started"
        ) from error
    _log.warning("Docker cannot be used: %s", error.detail)


async def _process(settings: Settings, read_secrets: ReadSecrets, calls: CallSockets) -> Engine:
    _log.warning("sandboxes are child processes: faults are isolated, attackers are not (for development)")
    engine = ProcessEngine(state_dir=settings.state_dir, read_secrets=read_secrets, calls=calls)
    await engine.open()
    return engine
