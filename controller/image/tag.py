"""The controller image's name, computed from what goes into it: the same code, the same name."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator

from sandbox_image.tag import ROOT

REPOSITORY = "xcore/controller"
RECIPE = ("controller/image/Dockerfile", "controller/image/requirements.txt")
_PACKAGES = ("controller", "integrations", "sandbox_image", "xcore")


def image_tag() -> str:
    """The image of the code this process runs, e.g. `xcore/controller:0a1b2c3d4e5f`."""
    parts = (f"{name}\0{hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}\n" for name in sources())
    told = f"{release_tag()}\n{''.join(parts)}"
    return f"{REPOSITORY}:{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def release_tag() -> str:
    """What chart and manifests call it, e.g. `xcore/controller:0.1.0`."""
    return f"{REPOSITORY}:{importlib.metadata.version('xcore-platform')}"


def sources() -> Iterator[str]:
    """All of ours inside the image, as paths relative to `ROOT`, sorted: the sandbox's files, too, which its tag is made of."""
    found = (path for package in _PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    names = (path.relative_to(ROOT).as_posix() for path in found)
    return iter(sorted(name for name in names if "__pycache__" not in name))
