"""Makes an image with the `docker` command: a base, packages unpacked for it on the host, our own files, a Dockerfile.

Needs nothing but the standard library and uv. The packages are chosen on the host for the *base's* Python and platform,
from hashed wheels only, so that the build itself needs no package index. Progress goes to stderr; any failure is one
sentence and exit status 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from sandbox_image.base import Base, ask, find_base, have_image
from sandbox_image.commands import BuildError, found, run, say
from sandbox_image.tag import ROOT

DISTRIBUTION = "xcore-platform"


class Recipe(NamedTuple):
    """What an image is made of, as paths relative to ROOT; `app` is what of ours goes into it.

    `release`: the name it has besides, for whoever cannot know what it holds.
    """

    dockerfile: str
    requirements: str
    app: Iterable[str]
    release: str = ""


def main(program: str, image_tag: Callable[[], str], recipe: Recipe) -> int:
    """The command that builds one image; gives its exit status."""
    options = _arguments(program)
    tag = options.tag or image_tag()
    try:
        if not (options.if_missing and have_image(tag)):
            build(recipe, tag, options.base)
        if recipe.release:
            run("docker", "tag", tag, recipe.release, failure=f"{recipe.release} cannot be named so")
    except BuildError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build(recipe: Recipe, tag: str, wanted_base: str | None) -> None:
    """Make the image `tag` on `wanted_base`, or on the best base to be had here."""
    started = time.monotonic()
    run("docker", "version", "--format", "{{.Server.Version}}", failure="no Docker engine answers")
    image = find_base(wanted_base)
    base = ask(image)
    say(f"base image {image}: Python {base.python[0]}.{base.python[1]} on {base.machine}")
    with tempfile.TemporaryDirectory(prefix="xcore-image-") as folder:
        context = Path(folder)
        make_site(context / "site", base, ROOT / recipe.requirements)
        copy_sources(recipe, context)
        _readable_by_all(context)
        say(f"building {tag}")
        run(
            *("docker", "build", "--build-arg", f"BASE_IMAGE={image}"),
            *("--label", f"dev.xcore.base={image}"),
            # Dependencies of plugins are packed for what the image says of itself.
            *("--label", f"dev.xcore.python={base.python[0]}.{base.python[1]}"),
            *("--label", f"dev.xcore.platform={base.platform}"),
            *("--tag", tag, folder),
            failure="the image does not build",
            environment=_builder(),
        )
    say(f"{tag} is ready after {time.monotonic() - started:.0f} s")


def make_site(site: Path, base: Base, requirements: Path) -> None:
    """Unpack the packages for the base's Python and platform."""
    say(f"fetching the packages for {base.platform}")
    run(
        *(find_uv(), "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps"),
        *("--python", sys.executable, "--python-version", f"{base.python[0]}.{base.python[1]}"),
        *("--python-platform", base.platform, "--link-mode", "copy", "--target", str(site)),
        *("--requirements", str(requirements)),
        failure="the packages cannot be fetched",
        environment={"UV_PYTHON_DOWNLOADS": "never"},
    )
    # Command line scripts name the host's interpreter, and nobody calls them in an image.
    shutil.rmtree(site / "bin", ignore_errors=True)
    (site / ".lock").unlink(missing_ok=True)


def find_uv() -> str:
    """`UV`, else on the PATH, else where `tools/setup.sh venv` puts it."""
    local = ROOT / ".tools/bin/uv"
    named = os.environ.get("UV") or shutil.which("uv") or (str(local) if os.access(local, os.X_OK) else None)
    if named is None:
        raise BuildError(
            "uv is missing: install it, or name it in UV (`tools/setup.sh venv` does it in a checkout)"
        )
    return named


def copy_sources(recipe: Recipe, context: Path) -> None:
    """Lay Dockerfile and our own modules out."""
    shutil.copyfile(ROOT / recipe.dockerfile, context / "Dockerfile")
    for name in recipe.app:
        target = context / "app" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    if recipe.release:
        _write_metadata(context / "app", recipe.release.rpartition(":")[2])


def _write_metadata(app: Path, version: str) -> None:
    """What an installation would leave behind: `importlib.metadata` tells the version by it (PEP 376)."""
    folder = app / f"{DISTRIBUTION.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    lines = ("Metadata-Version: 2.1", f"Name: {DISTRIBUTION}", f"Version: {version}", "")
    (folder / "METADATA").write_text("\n".join(lines))


def _builder() -> dict[str, str]:
    """BuildKit needs the buildx plugin; without it the classic builder does all this Dockerfile asks for."""
    if "DOCKER_BUILDKIT" in os.environ:
        return {}
    probe = found("docker"), "buildx", "version"
    absent = subprocess.run(probe, capture_output=True, check=False, timeout=60).returncode  # noqa: S603  no shell
    return {"DOCKER_BUILDKIT": "0"} if absent else {}


def _readable_by_all(folder: Path) -> None:
    """Modes travel into the image, where another uid reads: do not let this process's umask decide."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _arguments(program: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description="Build the image.")
    parser.add_argument("--tag", help="name and tag of the image [by content]")
    parser.add_argument(
        "--base", default=os.environ.get("BASE_IMAGE"), help="base image [BASE_IMAGE, else by trying]"
    )
    parser.add_argument("--if-missing", action="store_true", help="do nothing where the engine has the tag")
    return parser.parse_args()
