"""The Docker engine as the settings describe it. Imported only where it is wanted: Docker's client need not be there."""

from __future__ import annotations

import importlib.resources

from controller.settings import Settings
from xcore.runtimes.callsockets import CallSockets
from xcore.runtimes.docker import DockerEngine
from xcore.runtimes.handed import ReadSecrets, no_secrets


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
