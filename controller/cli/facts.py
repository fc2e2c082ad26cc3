"""What the doctor knows of host, engine and controller; `gather` finds it out, `findings` and `hops` judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.finding import Finding


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """The Docker engine: why it does not answer, else what it says of itself. `trial`: why a sandbox was not reached.

    `images`: those that plugin folders name, and whether it has each.
    """

    error: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    version: Mapping[str, Any] = field(default_factory=dict)
    image: bool | None = None
    images: Mapping[str, bool] = field(default_factory=dict)
    trial: str | None = None  # None: not tried; empty: it was reached


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """Room in one directory: bytes, and files that can still be made (None: as many as you like)."""

    what: str
    path: str
    free_bytes: int
    free_inodes: int | None


@dataclass(frozen=True, slots=True)
class HostFacts:
    """This machine and user. `closed`: what other users cannot read of Python; `plugins`: folders with a manifest."""

    root: bool
    closed: Sequence[str] = ()
    cgroups: frozenset[str] = frozenset()
    spaces: Sequence[SpaceFacts] = ()
    plugins_dir: str = ""
    plugins: int = 0
    plugins_error: str = ""


@dataclass(frozen=True, slots=True)
class ControllerFacts:
    """What answers at the address: `ready` and `request` are (status, body) of /readyz and of the plugin's route.

    `unknown`: the address is a name that nobody knows. `cluster`: what the controller finds of the cluster it stands on.
    """

    url: str
    error: str = ""
    unknown: str = ""
    cluster: Sequence[Finding] = ()
    ready: tuple[int, str] | None = None
    plugin: Mapping[str, Any] | None = None
    problem: str = ""
    request: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything there is to judge. `name`: the plugin that was asked for, else empty.

    `cluster`: what is found of the cluster where the settings name one; then sandboxes are none of this host's affair.
    """

    runtime: str
    sandbox_image: str
    engine: EngineFacts
    host: HostFacts
    controller: ControllerFacts
    name: str = ""
    settings_error: str = ""
    cluster: Sequence[Finding] | None = None
