"""The programs of the cluster, built once for each go.sum, into the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.commands import ClusterError, say
from tests.cluster.places import DNS_IMAGE, HERE, PAUSE_IMAGE

GO_PLACES = ("/usr/local/go/bin", "/usr/lib/go/bin")
BUILD_SECONDS = 1500
# What a person gets on the PATH; the other names (server, dns, pause) are too general for that.
FOR_PEOPLE = ("kubectl", "helm")


def folder() -> Path:
    """Where the programs of this checkout are, built or not."""
    content = hashlib.sha256()
    for path in (HERE / "go.mod", HERE / "go.sum", HERE / "dns/main.go", HERE / "pause/main.go"):
        content.update(path.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "xcore/cluster" / content.hexdigest()[:16]


def programs() -> Path:
    """The folder with every program in it, when this returns. A second caller waits for the first."""
    made = folder()
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        with locked(made.with_suffix(".lock")):
            if not made.exists():
                _build(made)
    return made


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One at a time; the lock ends with its holder."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(made: Path) -> None:
    started = time.monotonic()
    say("building Kubernetes from its Go modules (about five minutes on two cores, once)")
    with tempfile.TemporaryDirectory(dir=made.parent, prefix="building-") as name:
        built = Path(name) / "built"
        _go_build(built)
        (built / "path").mkdir()
        for program in FOR_PEOPLE:
            (built / "path" / program).symlink_to(f"../{program}")
        image(PAUSE_IMAGE, built / "pause", built / "pause.tar")
        image(DNS_IMAGE, built / "dns", built / "dns.tar")
        built.rename(made)
    say(f"built after {time.monotonic() - started:.0f} s")


def _go_build(target: Path) -> None:
    version = re.search(r"\bk8s\.io/kubernetes (v(\d+)\.(\d+)\S*)", (HERE / "go.mod").read_text())
    assert version
    # Without them clients take the server for another version.
    stamps = zip(("gitVersion", "gitMajor", "gitMinor"), version.groups(), strict=True)
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamps)
    command = ("nice", "-n", "2", find_go(), "build", "-buildvcs=false", "-o", f"{target}/")
    tree = (*command, "-ldflags", f"-s -w {flags}", "tool", "./pause", "./dns")
    environment = {**os.environ, "CGO_ENABLED": "0"}
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            tree, cwd=HERE, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            while _goes_on(process):
                seconds = time.monotonic() - begun
                say(f"still building after {seconds:.0f} s")
                if seconds > BUILD_SECONDS:
                    raise ClusterError(f"the build is not finished after {BUILD_SECONDS} s")
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            said.seek(0)
            raise ClusterError(f"the build fails: {said.read()[-2000:]}")


def _goes_on(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        return True
    return False


def find_go() -> str:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *GO_PLACES))
    found = shutil.which("go", path=path)
    if not found:
        raise ClusterError(
            "missing: Go 1.24 or newer (https://go.dev/dl), which the test cluster is built with"
        )
    return found


def image(name: str, program: Path, archive: Path) -> None:
    """Write an image with one static program and nothing else, as `docker save` would."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tar.gettarinfo(str(program), program.name)
        entry.mode, entry.uid, entry.gid = 0o755, 0, 0
        with program.open("rb") as file:
            tar.addfile(entry, file)
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65534:65534"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for file_name, content in (
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(file_name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
