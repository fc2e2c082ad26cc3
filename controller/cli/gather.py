"""Gathers what the doctor judges, and changes nothing."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx

from controller.cli.client import DOCTOR, Client, plugin_path
from controller.cli.exits import Stopped
from controller.cli.facts import ControllerFacts, EngineFacts, Facts, HostFacts, SpaceFacts
from controller.cli.older import is_old
from controller.finding import Finding
from controller.ground import in_cluster
from controller.settings import InvalidSettings, Settings, load
from xcore.bundle import MANIFEST
from xcore.runtimes.cgroup import hierarchies
from xcore.runtimes.reach import PACKAGES, ROOT, closed


def gather(name: str, config: Path | None) -> Facts:
    try:
        settings, error = load(config), ""
    except InvalidSettings as invalid:
        settings, error = Settings(), str(invalid)
    inside = in_cluster(settings)
    engine = EngineFacts() if inside or settings.runtime == "process" else _engine(settings)
    return Facts(
        runtime="kubernetes" if inside else settings.runtime,
        sandbox_image=settings.sandbox_image,
        engine=engine,
        host=_host(settings, engine.info.get("DockerRootDir")),
        controller=_controller(name, inside=inside),
        name=name,
        settings_error=error,
        cluster=_cluster(settings) if inside else None,
    )


def _engine(settings: Settings) -> EngineFacts:
    # Docker's client is not there, and not needed, in a cluster.
    engine: Any = importlib.import_module("controller.cli.engine")
    return cast("EngineFacts", engine.engine_facts(settings))


def _cluster(settings: Settings) -> Sequence[Finding]:
    # Kubernetes' client is 59 MB that nobody else needs.
    ground: Any = importlib.import_module("controller.operator.ground")
    return cast("Sequence[Finding]", asyncio.run(ground.examined(settings)))


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


def _controller(name: str, *, inside: bool) -> ControllerFacts:
    with Client() as client:
        facts = ControllerFacts(client.url)
        try:
            facts = replace(facts, ready=client.probe("/readyz"))
        except Stopped as stopped:
            return replace(facts, error=stopped.detail, unknown=_unknown(client.url))
        try:
            if name:
                facts = replace(facts, plugin=client.get(plugin_path(name)))
                facts = replace(facts, request=client.probe(f"/app/{quote(name, safe='')}"))
            if not inside:
                found = client.get(DOCTOR)["findings"]
                facts = replace(facts, cluster=[Finding(**each) for each in found])
        except Stopped as stopped:
            return replace(facts, problem=f"{stopped.reason}: {stopped.detail}")
        return facts


def _unknown(url: str) -> str:
    """Give the name in an address, where there is one that does not resolve."""
    host = httpx.URL(url).host
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return host
    return ""
