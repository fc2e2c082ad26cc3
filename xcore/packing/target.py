"""What packed dependencies must fit: a Python and a platform, as uv calls them."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass

PYTHON_LABEL, PLATFORM_LABEL = "dev.xcore.python", "dev.xcore.platform"


@dataclass(frozen=True, slots=True)
class Target:
    """Such as `3.13` and `x86_64-manylinux_2_28`."""

    python: str
    platform: str


def here() -> Target:
    """What runs in the controller's own Python."""
    libc = "manylinux_2_28" if platform.libc_ver()[0] == "glibc" else "unknown-linux-musl"
    return Target(f"{sys.version_info[0]}.{sys.version_info[1]}", f"{platform.machine()}-{libc}")


def sandbox(labels: Mapping[str, str] | None = None) -> Target:
    """What a sandbox image says of itself by its labels, else what the image is that we build by default."""
    told = labels or {}
    default = Target("3.13", f"{platform.machine()}-manylinux_2_28")
    return Target(told.get(PYTHON_LABEL, default.python), told.get(PLATFORM_LABEL, default.platform))
