"""Choosing where sandboxed plugins run: what the settings ask for, or, with `auto`, the best that is really there."""

from __future__ import annotations

import importlib.resources
import logging
from pathlib import Path

from controller.settings import Settings
from controller.values import is_loopback
from xcore.errors import ImagePull, RuntimeUnavailable, XcoreError
from xcore.runtimes.callsockets import CallSockets
from xcore.runtimes.docker import DockerEngine
from xcore.runtimes.handed import ReadSecrets, no_secrets
from xcore.runtimes.process import ProcessEngine
from xcore.runtimes.seams import Engine
from xcore.runtimes.trial import trial

# Where a pod finds who it is (kubernetes.io, "Accessing the Kubernetes API from a Pod").
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_log = logging.getLogger("xcore.controller")


def in_cluster(settings: Settings) -> bool:
    """Tell whether plugins run as pods: asked for, or `auto` in a pod."""
    return settings.runtime == "kubernetes" or (settings.runtime == "auto" and SERVICE_ACCOUNT.is_dir())


async def choose_engine(
    settings: Settings, owner: str, read_secrets: ReadSecrets, calls: CallSockets
) -> Engine:
    """Open and return the engine; raises RuntimeUnavailable or ImagePull with what to do about it.

    `docker` named outright refuses where it cannot be had. `auto` takes it when it answers, has the image and
    a trial sandbox can be reached; else it takes `process`, on loopback only, and says so.
    """
    if settings.runtime == "process":
        return await _process(settings, read_secrets, calls)
    engine = docker_engine(settings, owner, read_secrets, calls)
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


def docker_engine(
    settings: Settings,
    owner: str,
    read_secrets: ReadSecrets = no_secrets,
    calls: CallSockets | None = None,
) -> DockerEngine:
    seccomp = importlib.resources.files("sandbox_image").joinpath("seccomp.json").read_text("utf-8")
    return DockerEngine(
        owner=owner,
        image=settings.sandbox_image,
        seccomp=seccomp,
        state_dir=settings.state_dir,
        host=settings.docker_host,
        read_secrets=read_secrets,
        calls=calls,
    )


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
