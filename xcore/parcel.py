"""What a client sends to make a plugin: a manifest, an archive, or both; opened into one manifest and its code.

Refused: an archive whose `plugin.yaml` says something else than the manifest beside it, code that is missing or not needed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xcore import jsonsafe, yamlsafe
from xcore.archive import unpack
from xcore.bundle import MANIFEST, Snapshots
from xcore.errors import InvalidBundle, InvalidManifest, Problem, StorageFull
from xcore.manifest import Manifest, from_dict, parse

_NAME = "the manifest"
_OURS = ("status",)
_OURS_IN_METADATA = ("generation", "resourceVersion")
_OURS_IN_ANNOTATIONS = "xcore.dev/"


@dataclass(frozen=True, slots=True)
class Parcel:
    """As it came: the manifest's text (JSON, else YAML), and the archive in a file of ours."""

    manifest: bytes | None = None
    is_json: bool = False
    archive: BinaryIO | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A manifest as it is to be kept, and the digest of its code, "" where an image holds it. `sent`: the code came with it."""

    manifest: Manifest
    digest: str
    sent: bool = False


def with_code(manifest: Manifest, digest: str) -> Manifest:
    """Give the manifest as it is kept: its source names the code that came with it."""
    data = manifest.to_dict()
    spec = data["spec"]
    assert isinstance(spec, dict)
    return from_dict({**data, "spec": {**spec, "source": {"bundle": f"sha256:{digest}"}}})


def open_parcel(parcel: Parcel, snapshots: Snapshots, staging: Path) -> Offer:
    """Check, unpack and keep what was sent; its code is on disk afterwards. Raises Invalid, StorageFull. Blocks."""
    declared = None
    if parcel.manifest is not None:
        declared = manifest_of(read_data(parcel.manifest, is_json=parcel.is_json))
    if parcel.archive is not None:
        return _open_archive(declared, parcel.archive, snapshots, staging)
    if declared is None:
        raise InvalidManifest("neither a manifest nor an archive was sent")
    return offer(declared)


def offer(manifest: Manifest) -> Offer:
    """What a manifest alone wants: an image, or code that is here already."""
    source = manifest.spec.source
    if source.folder is not None:
        problem = Problem(
            "spec.source.folder", "must come with its code: send both, as parts manifest and archive"
        )
        raise InvalidManifest("the manifest's code is missing", [problem])
    return Offer(manifest, (source.bundle or "").removeprefix("sha256:"))


def read_data(text: bytes, *, is_json: bool) -> tuple[Any, yamlsafe.Lines]:
    """The data in a manifest's text and the lines it stands on. Raises InvalidManifest."""
    if is_json:
        return jsonsafe.load(text, name=_NAME), {}
    return yamlsafe.load(text, name=_NAME)


def manifest_of(read: tuple[Any, yamlsafe.Lines]) -> Manifest:
    """The manifest in data; what only the controller writes is taken out, so what GET gave can be sent again."""
    data, lines = read
    if isinstance(data, Mapping):
        data = {key: value for key, value in data.items() if key not in _OURS}
        metadata = data.get("metadata")
        if isinstance(metadata, Mapping):
            data["metadata"] = {
                key: _authors(value) if key == "annotations" else value
                for key, value in metadata.items()
                if key not in _OURS_IN_METADATA
            }
    return from_dict(data, name=_NAME, lines=lines)


def _authors(annotations: Any) -> Any:
    if not isinstance(annotations, Mapping):
        return annotations
    return {key: value for key, value in annotations.items() if not str(key).startswith(_OURS_IN_ANNOTATIONS)}


def _open_archive(declared: Manifest | None, archive: BinaryIO, snapshots: Snapshots, staging: Path) -> Offer:
    folder = _stage(staging)
    try:
        root = unpack(archive, folder / "content")
        own = _own(root)
        manifest = _agreed(declared, own)
        digest, _ = snapshots.take(_source(root, own or manifest))
        _demand_same_code(manifest, digest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    snapshots.persist(digest)
    return Offer(with_code(manifest, digest), digest, sent=True)


def _stage(staging: Path) -> Path:
    try:
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=staging))
    except OSError as error:
        raise StorageFull(f"the state directory cannot be written: {error.strerror}") from error


def _own(root: Path) -> Manifest | None:
    path = root / MANIFEST
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return parse(file.read(yamlsafe.MAX_BYTES + 1), name=f"{MANIFEST} in the archive")


def _agreed(declared: Manifest | None, own: Manifest | None) -> Manifest:
    manifest = declared or own
    if manifest is None:
        raise InvalidManifest(
            f"there is no manifest: neither as a part of its own nor as {MANIFEST} in the archive"
        )
    if declared is not None and own is not None:
        problems = [
            Problem(field, f"is not what {MANIFEST} in the archive says") for field in _differ(declared, own)
        ]
        if problems:
            raise InvalidBundle("the manifest and the archive do not belong together", problems)
    if manifest.spec.source.image is not None:
        problem = Problem("spec.source.image", "must be absent where an archive brings the code")
        raise InvalidManifest("an image and an archive were sent, and one of them only can run", [problem])
    return manifest


def _differ(declared: Manifest, own: Manifest) -> Iterator[str]:
    """The fields in which they differ. One that names its code already may have it in the archive's folder."""
    ours, theirs = declared.to_dict(exclude_unset=False), own.to_dict(exclude_unset=False)
    for part in ("metadata", "spec"):
        left, right = ours[part], theirs[part]
        assert isinstance(left, dict)
        assert isinstance(right, dict)
        for key in sorted({*left, *right}):
            named = (part, key) == ("spec", "source") and declared.spec.source.bundle is not None
            if left.get(key) != right.get(key) and not named:
                yield f"{part}.{key}"


def _source(root: Path, manifest: Manifest) -> Path:
    folder = manifest.spec.source.folder or "."
    if not (root / folder).is_dir():
        problem = Problem("spec.source.folder", "must be a folder in the archive")
        raise InvalidBundle("the archive does not hold the code", [problem])
    return root / folder


def _demand_same_code(manifest: Manifest, digest: str) -> None:
    named = manifest.spec.source.bundle
    if named is not None and named != f"sha256:{digest}":
        problem = Problem("spec.source.bundle", f"must be sha256:{digest}, or absent")
        raise InvalidBundle("the archive holds other code than the manifest names", [problem])
