"""Tiny wheels in a package index on disk (PEP 503): packing is tested without a network."""

import base64
import hashlib
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xcore.packing.uv import Job

LINUX_313 = "cp313-cp313-manylinux_2_17_x86_64"


@dataclass
class Index:
    """`add` writes a wheel; `said` is the progress of the jobs made here."""

    root: Path
    said: list = field(default_factory=list)

    def offer(self, path, *, yanked=""):
        """Let a file of `files` be found, with its hash."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        page = self.root / "simple" / path.name.partition("-")[0].replace("_", "-") / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        links = [
            line
            for line in (page.read_text().splitlines() if page.exists() else [])
            if f">{path.name}<" not in line
        ]
        mark = f' data-yanked="{yanked}"' if yanked else ""
        links.append(f'<a href="{path.as_uri()}#sha256={digest}"{mark}>{path.name}</a>')
        page.write_text("\n".join(links))

    def job(self, **settings):
        return Job(self.said.append, **settings)

    def add(self, name, version="1.0", files=None, *, requires=(), tag="py3-none-any", raw=(), yanked=""):
        """`files`: {path: text}, else one module; `raw`: further (ZipInfo or path, text) that RECORD does not know."""
        stem = f"{name.replace('-', '_')}-{version}"
        held = dict(files) if files is not None else {f"{name}.py": f"VERSION = {version!r}\n"}
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        held[f"{stem}.dist-info/METADATA"] = (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        held[f"{stem}.dist-info/WHEEL"] = (
            f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        record = "".join(f"{path},sha256={_hash(text)},{len(text)}\n" for path, text in held.items())
        held[f"{stem}.dist-info/RECORD"] = f"{record}{stem}.dist-info/RECORD,,\n"
        path = self.root / "files" / f"{stem}-{tag}.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name_or_info, text in [*held.items(), *raw]:
                archive.writestr(name_or_info, text)
        self.offer(path, yanked=yanked)
        return path


def _hash(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of nothing yet, a cache of its own, and no other place where uv would look."""
    made = Index(tmp_path / "index")
    for name in ("files", "simple"):
        (made.root / name).mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", (made.root / "simple").as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(made.root / "cache"))
    return made
