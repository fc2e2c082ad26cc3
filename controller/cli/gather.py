"""Gathers what the doctor judges. Looks only; but for one trial sandbox, which it removes again."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from controller.cli.client import Client, plugin_path
from controller.cli.exits import Stopped
from controller.cli.facts import ControllerFacts, EngineFacts, Facts, HostFacts, SpaceFacts
from controller.cli.older import is_old
from controller.engines import docker_engine
from controller.settings import InvalidSettings, Settings, load
from xcore.bundle import MANIFEST
from xcore.errors import XcoreError
from xcore.manifest import parse
from xcore.runtimes.cgroup import hierarchies
from xcore.runtimes.reach import PACKAGES, ROOT, closed
from xcore.runtimes.trial import trial
from xcore.yamlsafe import MAX_BYTES

ENGINE_SECONDS = 10.0


def gather(name: str, config: Path | None) -> Facts:
    try:
        settings, error = load(config), ""
    except InvalidSettings as invalid:
        settings, error = Settings(), str(invalid)
    engine = EngineFacts() if settings.runtime == "process" else _engine(settings)
    return Facts(
        runtime=settings.runtime,
        sandbox_image=settings.sandbox_image,
        engine=engine,
        host=_host(settings, engine.info.get("DockerRootDir")),
        controller=_controller(name),
        name=name,
        settings_error=error,
    )


def _engine(settings: Settings) -> EngineFacts:
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


def _host(settings: Settings, engine_root: object) -> HostFacts:
    spaces = [_space("state-dir", settings.state_dir)]
    if isinstance(engine_root, str):
        spaces.append(_space("engine", Path(engine_root)))
    count, error = _plugins(settings.plugins_dir)
    return HostFacts(
        root=os.geteuid() == 0,
        closed=tuple(_closed()),
        cgroups=_writable_cgroups(),
        spaces=tuple(space for space in spaces if space is not None),
        plugins_dir=str(settings.plugins_dir),
        plugins=count,
        plugins_error=error,
    )


def _space(what: str, path: Path) -> SpaceFacts | None:
    """The room where `path` is or would be made; None when nobody tells."""
    try:
        path = path.absolute()
        found = next(part for part in (path, *path.parents) if part.exists())
        room = os.statvfs(found)
    except OSError:
        return None
    inodes = room.f_favail if room.f_files else None
    return SpaceFacts(what, str(path), room.f_bavail * room.f_frsize, inodes)


def _plugins(directory: Path) -> tuple[int, str]:
    try:
        found = ((folder / MANIFEST).is_file() or is_old(folder) for folder in directory.iterdir())
        return sum(found), ""
    except OSError as error:
        return 0, error.strerror or "no reason given"


def _closed() -> Iterator[str]:
    """What of Python and of ours a user who owns nothing cannot read, each named once."""
    found = (importlib.util.find_spec(name) for name in PACKAGES)
    packages = [Path(spec.origin) for spec in found if spec is not None and spec.origin]
    ours = [ROOT / "sandbox_image/runner.py", ROOT / "xcore/plugin/host.py"]
    parts = []
    for path in (Path(sys.executable), Path(os.__file__).parent, *ours, *packages):
        try:
            parts.append(closed(path))
        except OSError:
            parts.append(path)
    yield from dict.fromkeys(str(part) for part in parts if part is not None)


def _writable_cgroups() -> frozenset[str]:
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8")
    except OSError:
        return frozenset()
    trees = [tree for tree in hierarchies(mounts) if os.access(tree.mount, os.W_OK | os.X_OK)]
    return frozenset(controller for tree in trees for controller in tree.controllers)


def _controller(name: str) -> ControllerFacts:
    with Client() as client:
        facts = ControllerFacts(client.url)
        try:
            ready = client.probe("/readyz")
        except Stopped as stopped:
            return ControllerFacts(client.url, error=stopped.detail)
        if not name:
            return ControllerFacts(client.url, ready=ready)
        try:
            plugin = client.get(plugin_path(name))
            request = client.probe(f"/app/{quote(name, safe='')}")
        except Stopped as stopped:
            problem = f"{stopped.reason}: {stopped.detail}"
            return ControllerFacts(facts.url, ready=ready, problem=problem)
        return ControllerFacts(client.url, ready=ready, plugin=plugin, request=request)
