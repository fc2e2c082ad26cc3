"""Builds the sandbox image: `python -m sandbox_image.build [--tag NAME] [--base IMAGE] [--if-missing]`.

Drives the `docker` command and needs nothing but the standard library and uv. The base image is `--base`, else
`BASE_IMAGE`, else `python:3.13-slim`; where no registry answers, a Debian made here with mmdebstrap. The packages are
chosen on the host for the *base's* Python and platform, from hashed wheels only, so that the build itself needs no
package index. Progress goes to stderr; any failure is one sentence and exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox_image.tag import RECIPE, ROOT, image_tag, sources

PUBLIC_BASE = "python:3.13-slim"
LOCAL_BASE = "xcore/base:trixie"
SUITE = "trixie"
PACKAGES = "python3,ca-certificates,tini"
OLDEST_PYTHON = (3, 11)
# A registry that has not answered with the first line by then is not there; a slow download is another matter.
REGISTRY_ANSWERS_SECONDS = 20
PULL_SECONDS = 600
STEP_SECONDS = 600
ASK_BASE = (
    "import json, os, platform, sys; print(json.dumps({'python': sys.version_info[:2],"
    " 'machine': platform.machine(), 'glibc': platform.libc_ver()[0] == 'glibc'}))"
)


class BuildError(Exception):
    """One sentence for the person who asked for the image."""


class Base(NamedTuple):
    """What the base image says about itself."""

    python: tuple[int, int]
    machine: str
    glibc: bool

    @property
    def platform(self) -> str:
        """As uv calls it."""
        return f"{self.machine}-{'manylinux_2_28' if self.glibc else 'unknown-linux-musl'}"


def main() -> int:
    """Build; return the exit status."""
    options = _arguments()
    tag = options.tag or image_tag()
    try:
        if options.if_missing and have_image(tag):
            return 0
        started = time.monotonic()
        build(tag, options.base)
    except BuildError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"{tag} is ready after {time.monotonic() - started:.0f} s")
    return 0


def build(tag: str, wanted_base: str | None) -> None:
    """Make the image `tag` on `wanted_base`, or on the best base to be had here."""
    run("docker", "version", "--format", "{{.Server.Version}}", failure="no Docker engine answers")
    image = find_base(wanted_base)
    base = ask(image)
    say(f"base image {image}: Python {base.python[0]}.{base.python[1]} on {base.machine}")
    with tempfile.TemporaryDirectory(prefix="xcore-image-") as folder:
        context = Path(folder)
        make_site(context / "site", base)
        copy_sources(context)
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


def have_image(name: str) -> bool:
    """Whether the engine has it. An engine that does not answer is an error, not a no."""
    command = _found("docker"), "image", "ls", "--quiet", name
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  no shell
    if answer.returncode:
        raise BuildError(f"no Docker engine answers: {_last_line(answer.stderr)}")
    return bool(answer.stdout.strip())


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


def pull(name: str) -> str | None:
    """Pull; return why it failed, None when it did not."""
    command = _found("docker"), "pull", name
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
    return _last_line(complaint) if process.returncode else None


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


def ask(image: str) -> Base:
    """Start the base once, without network, and let its Python speak."""
    command = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", image, "-c", ASK_BASE)
    answer = json.loads(run(*command, failure=f"{image} does not run python3"))
    base = Base((answer["python"][0], answer["python"][1]), answer["machine"], answer["glibc"])
    if base.python < OLDEST_PYTHON:
        raise BuildError(f"{image} has Python {base.python[0]}.{base.python[1]}; 3.11 or newer is needed")
    return base


def make_site(site: Path, base: Base) -> None:
    """Unpack the runner's packages for the base's Python and platform."""
    say(f"fetching the packages for {base.platform}")
    run(
        *(find_uv(), "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps"),
        *("--python", sys.executable, "--python-version", f"{base.python[0]}.{base.python[1]}"),
        *("--python-platform", base.platform, "--link-mode", "copy", "--target", str(site)),
        *("--requirements", str(ROOT / "sandbox_image/requirements.txt")),
        failure="the packages cannot be fetched",
        environment={"UV_PYTHON_DOWNLOADS": "never"},
    )
    # Command line scripts name the host's interpreter, and nobody calls them in a sandbox.
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


def copy_sources(context: Path) -> None:
    """Lay Dockerfile and our own modules out."""
    shutil.copyfile(ROOT / RECIPE[0], context / "Dockerfile")
    for name in sources():
        target = context / "app" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)


def run(*command: str, failure: str, environment: Mapping[str, str] | None = None) -> str:
    """Run to the end and return stdout; a failure is `failure` and the command's last words."""
    try:
        done = subprocess.run(  # noqa: S603  no shell
            [_found(command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=STEP_SECONDS,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{failure}: not finished after {STEP_SECONDS} s") from error
    if done.returncode:
        sys.stderr.write(_tail(done.stdout))
        raise BuildError(f"{failure}: {_last_line(done.stderr)}")
    return done.stdout


def say(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"sandbox image: {text}\n")
    sys.stderr.flush()


def _builder() -> dict[str, str]:
    """BuildKit needs the buildx plugin; without it the classic builder does all this Dockerfile asks for."""
    if "DOCKER_BUILDKIT" in os.environ:
        return {}
    probe = _found("docker"), "buildx", "version"
    absent = subprocess.run(probe, capture_output=True, check=False, timeout=60).returncode  # noqa: S603  no shell
    return {"DOCKER_BUILDKIT": "0"} if absent else {}


def _readable_by_all(folder: Path) -> None:
    """Modes travel into the image, where another uid reads: do not let this process's umask decide."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise BuildError(f"{program} is not installed")
    return path


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "xcore"


def _tail(text: str) -> str:
    return "".join(line + "\n" for line in text.splitlines()[-20:])


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox_image.build", description="Build the sandbox image."
    )
    parser.add_argument("--tag", help="name and tag of the image [by content: xcore/sandbox:<hash>]")
    parser.add_argument(
        "--base", default=os.environ.get("BASE_IMAGE"), help="base image [BASE_IMAGE, else by trying]"
    )
    parser.add_argument("--if-missing", action="store_true", help="do nothing where the engine has the tag")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
