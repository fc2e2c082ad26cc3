"""The base of an image: the one asked for, else `python:3.13-slim`; where no registry answers, a Debian made here."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from sandbox_image.commands import BuildError, found, last_line, run, say

PUBLIC_BASE = "python:3.13-slim"
LOCAL_BASE = "xcore/base:trixie"
SUITE = "trixie"
PACKAGES = "python3,ca-certificates,tini"
OLDEST_PYTHON = (3, 11)
# A registry that has not answered with the first line by then is not there; a slow download is another matter.
REGISTRY_ANSWERS_SECONDS = 20
PULL_SECONDS = 600
ASK_BASE = (
    "import json, os, platform, sys; print(json.dumps({'python': sys.version_info[:2],"
    " 'machine': platform.machine(), 'glibc': platform.libc_ver()[0] == 'glibc'}))"
)


class Base(NamedTuple):
    """What the base image says about itself."""

    python: tuple[int, int]
    machine: str
    glibc: bool

    @property
    def platform(self) -> str:
        """As uv calls it."""
        return f"{self.machine}-{'manylinux_2_28' if self.glibc else 'unknown-linux-musl'}"


def find_base(wanted: str | None) -> str:
    """The name of a base image the engine has when this returns."""
    for name in (wanted,) if wanted else (PUBLIC_BASE, LOCAL_BASE):
        if have_image(name):
            return name
    name = wanted or PUBLIC_BASE
    say(f"pulling {name}")
    problem = pull(name)
    if problem is None:
        return name
    if wanted:
        raise BuildError(f"the base image {wanted} is not here and cannot be pulled: {problem}")
    say(f"no registry answers ({problem}): making {LOCAL_BASE} with mmdebstrap")
    return make_base()


def ask(image: str) -> Base:
    """Start the base once, without network, and let its Python speak."""
    command = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", image, "-c", ASK_BASE)
    answer = json.loads(run(*command, failure=f"{image} does not run python3"))
    base = Base((answer["python"][0], answer["python"][1]), answer["machine"], answer["glibc"])
    if base.python < OLDEST_PYTHON:
        raise BuildError(f"{image} has Python {base.python[0]}.{base.python[1]}; 3.11 or newer is needed")
    return base


def have_image(name: str) -> bool:
    """Whether the engine has it. An engine that does not answer is an error, not a no."""
    command = found("docker"), "image", "ls", "--quiet", name
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  no shell
    if answer.returncode:
        raise BuildError(f"no Docker engine answers: {last_line(answer.stderr)}")
    return bool(answer.stdout.strip())


def pull(name: str) -> str | None:
    """Pull; return why it failed, None when it did not."""
    command = found("docker"), "pull", name
    with subprocess.Popen(  # noqa: S603  no shell
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            if not select.select([process.stdout], [], [], REGISTRY_ANSWERS_SECONDS)[0]:
                return f"nothing heard for {REGISTRY_ANSWERS_SECONDS} s"
            _, complaint = process.communicate(timeout=PULL_SECONDS)
        except subprocess.TimeoutExpired:
            return f"not finished after {PULL_SECONDS} s"
        finally:
            process.kill()
    return last_line(complaint) if process.returncode else None


def make_base() -> str:
    """Import a small Debian as `LOCAL_BASE`, from the cache or made now."""
    tarball = _cache() / f"base-{SUITE}-{os.uname().machine}.tar"
    if tarball.exists():
        say(f"using {tarball} (delete it for a newer Debian)")
    else:
        _need_mmdebstrap()
        tarball.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        say(f"making a Debian {SUITE} with {PACKAGES} (about half a minute)")
        half_done = tarball.with_suffix(f".{os.getpid()}.tar")
        try:
            run(
                *("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(half_done)),
                failure="mmdebstrap cannot make a base image; BASE_IMAGE can name one",
            )
            half_done.rename(tarball)
        finally:
            half_done.unlink(missing_ok=True)
    run("docker", "import", "--change", 'CMD ["python3"]', str(tarball), LOCAL_BASE, failure="import fails")
    return LOCAL_BASE


def _need_mmdebstrap() -> None:
    if shutil.which("mmdebstrap"):
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise BuildError(
            "no registry answers and mmdebstrap is missing (installed only as root on Debian):"
            " install it, or name a base image with Python 3.11 or newer in BASE_IMAGE"
        )
    say("installing mmdebstrap")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-q", failure="apt-get update fails", environment=quiet)
    command = ("apt-get", "install", "-q", "-y", "--no-install-recommends", "mmdebstrap")
    run(*command, failure="mmdebstrap cannot be installed", environment=quiet)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "xcore"
