"""The sandbox image's name, computed from what goes into it.

A controller must never start its plugins on the runner of another version, so the tag is a hash over every file of
ours that decides what the image holds: the same files give the same name, in a checkout and in an installed wheel.
Dependencies count through `requirements.txt` (the sandbox's part of `uv.lock`, with hashes); the base image does not:
it is the operator's choice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = "xcore/sandbox"
ROOT = Path(__file__).resolve().parent.parent
RECIPE = ("sandbox_image/Dockerfile", "sandbox_image/requirements.txt")
HOST_ONLY = tuple(
    f"sandbox_image/{name}.py" for name in ("base", "build", "building", "commands", "launch", "tag")
)


def image_tag() -> str:
    """The image that belongs to the code this process runs, e.g. `xcore/sandbox:0a1b2c3d4e5f`."""
    names = sorted({*RECIPE, *HOST_ONLY, *sources()})
    parts = (f"{name}\0{hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}\n" for name in names)
    return f"{REPOSITORY}:{hashlib.sha256(''.join(parts).encode()).hexdigest()[:12]}"


def packages() -> dict[str, str]:
    """What the runner brings into every sandbox beside our own modules: names and exact versions."""
    text = (ROOT / RECIPE[1]).read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))


def sources() -> Iterator[str]:
    """Our Python files inside the image, as paths relative to `ROOT`, sorted."""
    packages = (*ROOT.glob("xcore/plugin/**/*.py"), *ROOT.glob("sandbox_image/*.py"))
    found = [ROOT / "xcore/__init__.py", ROOT / "xcore/sdk.py", *packages]
    names = (path.relative_to(ROOT).as_posix() for path in found)
    return iter(sorted(name for name in names if name not in HOST_ONLY))
