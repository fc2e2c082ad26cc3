"""`xcore pack --image`: a plugin, its libraries and the runner in one image, for engines that never see the folder."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from controller.cli import output
from controller.cli.output import Brief
from controller.settings import Settings
from xcore.bundle import survey
from xcore.endpoint import SOCKET_NAME
from xcore.errors import InvalidSpec
from xcore.manifest import Manifest
from xcore.runtimes.dockerbuild import build_image
from xcore.runtimes.told import CODE_DIR, SITE_DIR, SOCKET_DIR

SOCKET = f"{SOCKET_DIR}/{SOCKET_NAME}"


@dataclass(frozen=True, slots=True)
class Baked:
    """An image the engine has: `tag` names it, `id` is what it holds."""

    tag: str
    id: str

    @property
    def source(self) -> dict[str, str]:
        return {"image": self.tag, "socket": SOCKET}


def bake(settings: Settings, manifest: Manifest, source: Path, site: Path | None, tag: str) -> Baked:
    """Build it on the sandbox image; raises RuntimeUnavailable, WorkloadRejected, InvalidBundle."""
    if manifest.spec.entrypoint is None:
        raise InvalidSpec("spec.source.image is an image already: there is no folder to pack")
    tag = tag or f"xcore/{manifest.metadata.name}:{manifest.spec.version}"
    output.note(f"pack: building {tag} on {settings.sandbox_image}")
    with tempfile.TemporaryFile() as context:
        _write_context(context, _dockerfile(settings.sandbox_image, manifest.spec.entrypoint), source, site)
        context.seek(0)
        return Baked(tag, build_image(settings.docker_host, context, tag))


def show_image(baked: Baked, form: Brief) -> None:
    if form == "json":
        output.data({"image": baked.tag, "id": baked.id, "source": baked.source})
        return
    output.line(f"{baked.tag} {baked.id}")
    output.line(f"spec.source: {json.dumps(baked.source)}")


def _dockerfile(base: str, entrypoint: str) -> str:
    return (
        f"FROM {base}\n"
        f"COPY plugin {CODE_DIR}\n"
        f"COPY site {SITE_DIR}\n"
        f"ENV PLUGIN_ENTRYPOINT={entrypoint} PLUGIN_PATH={CODE_DIR} PLUGIN_SITE={SITE_DIR} PORT=8080\n"
    )


def _write_context(context: BinaryIO, dockerfile: str, source: Path, site: Path | None) -> None:
    """The same files give the same bytes: no times, no owners, sorted."""
    with tarfile.open(fileobj=context, mode="w") as tar:
        tar.addfile(_info("Dockerfile", len(dockerfile)), io.BytesIO(dockerfile.encode()))
        for folder in ("plugin", "site"):
            made = _info(folder, 0, executable=True)
            made.type = tarfile.DIRTYPE
            tar.addfile(made)
        for name, path, executable in _files(source, site):
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                tar.addfile(_info(name, size, executable=executable), file)


def _files(source: Path, site: Path | None) -> Iterator[tuple[str, Path, bool]]:
    for entry in survey(source):
        yield f"plugin/{entry.path}", source / entry.path, entry.executable
    for path in sorted(site.rglob("*")) if site else ():
        if path.is_file() and not path.is_symlink():
            yield f"site/{path.relative_to(site)}", path, bool(path.stat().st_mode & 0o100)  # type: ignore[arg-type]


def _info(name: str, size: int, *, executable: bool = False) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o755 if executable else 0o644
    return info
