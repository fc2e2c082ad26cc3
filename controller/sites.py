"""Where packed dependencies lie, for the controller as for `xcore pack`."""

from __future__ import annotations

from pathlib import Path

from sandbox_image.tag import packages
from xcore.packing.sites import Sites

# What no package may stand in for: the runner's modules, which are called like their packages, and our own.
_RESERVED = frozenset({*packages(), "xcore", "sandbox_image"})


def open_sites(state_dir: Path) -> Sites:
    return Sites(state_dir / "sites", _RESERVED)
