"""Gathers what the doctor judges of a Docker engine. Looks only; but for one trial sandbox, which it removes again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from controller.cli.facts import EngineFacts
from controller.containers import docker_engine
from controller.settings import Settings
from xcore.bundle import MANIFEST
from xcore.errors import XcoreError
from xcore.manifest import parse
from xcore.runtimes.trial import trial
from xcore.yamlsafe import MAX_BYTES

ENGINE_SECONDS = 10.0


def engine_facts(settings: Settings) -> EngineFacts:
    path = settings.docker_host.removeprefix("unix://")
    transport = httpx.HTTPTransport(uds=path)
    try:
        # Tried first without the HTTP client, which would leave a socket open where nobody listens.
        with socket.socket(socket.AF_UNIX) as attempt:
            attempt.connect(path)
        with httpx.Client(transport=transport, base_url="http://engine", timeout=ENGINE_SECONDS) as http:
            version, info = _document(http, "/version"), _document(http, "/info")
            image = _has(http, settings.sandbox_image)
            images = {name: _has(http, name) for name in sorted(set(_named(settings.plugins_dir)))}
    except OSError as error:
        return EngineFacts(error=f"{path}: {error.strerror}")
    except (httpx.HTTPError, ValueError) as error:
        return EngineFacts(error=str(error) or type(error).__name__)
    trial = _trial(settings) if image else None
    return EngineFacts(info=info, version=version, image=image, images=images, trial=trial)


def _has(http: httpx.Client, image: str) -> bool:
    return http.get(f"/images/{image}/json").is_success


def _named(directory: Path) -> Iterator[str]:
    """The images that plugin folders name; what is wrong with a manifest is told elsewhere."""
    for path in filter(Path.is_file, directory.glob(f"*/{MANIFEST}")):
        with contextlib.suppress(OSError, XcoreError), path.open("rb") as file:
            source = parse(file.read(MAX_BYTES + 1), name=MANIFEST).spec.source
            if source.image is not None:
                yield source.image


def _document(http: httpx.Client, path: str) -> Mapping[str, Any]:
    answer = http.get(path).raise_for_status().json()
    return answer if isinstance(answer, dict) else {}


def _trial(settings: Settings) -> str:
    """Why a sandbox cannot be started and reached; empty when it can.

    In a directory beside the controller's own, and as an owner of our own: no controller sees this sandbox.
    """
    state = settings.state_dir
    there = state.is_dir() and os.access(state, os.W_OK | os.X_OK)
    try:
        with tempfile.TemporaryDirectory(prefix="doctor-", dir=state if there else None) as folder:
            place = Path(folder).resolve()
            return asyncio.run(_try(settings.model_copy(update={"state_dir": place})))
    except OSError as error:
        return f"there is no place for a trial sandbox's files: {error.strerror}"


async def _try(settings: Settings) -> str:
    engine = docker_engine(settings, f"doctor-{secrets.token_hex(4)}")
    try:
        await engine.open()
        await trial(engine, settings.state_dir)
    except XcoreError as error:
        return error.detail
    finally:
        await engine.aclose()
    return ""
