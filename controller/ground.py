"""What a controller stands on: where its plugins run, by which doors they come beside folders and API, what is prepared."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from controller.settings import Settings
from controller.sites import open_sites
from sandbox_image.tag import packages
from xcore.images import Images
from xcore.manager import Manager
from xcore.packing.preparation import Packing
from xcore.runtimes.seams import Engine, Runtime
from xcore.runtimes.supervised import Supervised
from xcore.sources import Preparation, Source, Sources
from xcore.vault import Vault

Join = Callable[[Manager, Sources], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Ground:
    """`join` is entered for the time the controller serves."""

    runtime: Runtime
    doors: Sequence[Source]
    preparations: Sequence[Preparation]
    join: Join


def machine_ground(settings: Settings, engine: Engine, vault: Vault) -> Ground:
    """Give the ground of one machine, whose engine starts and stops single instances."""
    packing = Packing(open_sites(settings.state_dir), engine.target, packages())
    return Ground(Supervised(engine), [], [packing, Images(engine), vault], _alone)


@contextlib.asynccontextmanager
async def _alone(_manager: Manager, _sources: Sources) -> AsyncIterator[None]:
    yield
