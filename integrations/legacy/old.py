"""A folder of the old system, read and not judged: its manifest, its PLUGIN_INFO, what else decides how it runs.

A folder counts as old when its `plugin.yaml` has none of today's fields, or when it has none and holds a `plugin.json`
or a `run.py` with PLUGIN_INFO. Bounded like any plugin folder (`xcore.bundle`); a source file is read up to 1 MiB.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xcore import jsonsafe, yamlsafe
from xcore.bundle import MANIFEST, survey
from xcore.errors import InvalidManifest, InvalidSpec, Problem

MAX_SOURCE = 1024 * 1024
JSON_MANIFEST = "plugin.json"
REQUIREMENTS = "requirements.txt"
INFO = "PLUGIN_INFO"
BY_HANDLE, BY_ROUTES = "src/main.py", "run.py"
# `entrypoint` at the top is somebody's mistake in a manifest of today, and told as that.
_TODAYS = frozenset({"apiVersion", "kind", "metadata", "spec", "entrypoint"})
_OLD = frozenset({"name", "version", "entry_point", "execution_mode"})
_FASTAPI = re.compile(rb"^[ \t]*(?:from|import)[ \t]+fastapi\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Old:
    """`file`: where the manifest stands, "" where there is none; `info`: PLUGIN_INFO, None where the code has none."""

    folder: str
    file: str
    manifest: Mapping[str, Any]
    info: Mapping[str, Any] | None
    files: frozenset[str]
    requirements: tuple[str, ...] = ()
    fastapi: bool = False

    @property
    def entry(self) -> object:
        """The entry point as it is written, else the old system's default."""
        return self.manifest.get("entry_point", BY_HANDLE if self.info is None else BY_ROUTES)


def is_old(folder: Path, text: bytes | None) -> bool:
    """Whether a folder is of the old system; `text` is that of its `plugin.yaml`, None where it has none."""
    if text is not None:
        try:
            data, _ = yamlsafe.load(text, name=MANIFEST)
        except InvalidManifest:
            return False  # told as what is wrong with it
        return isinstance(data, dict) and not _TODAYS & data.keys() and bool(_OLD & data.keys())
    if (folder / JSON_MANIFEST).is_file():
        return True
    with contextlib.suppress(OSError):
        return INFO.encode() in _read(folder / BY_ROUTES, MAX_SOURCE)
    return False


def read_old(folder: Path) -> Old:
    """Raise InvalidSpec for what cannot be read as what it is, InvalidBundle, OSError."""
    file, manifest = _manifest(folder)
    files = frozenset(entry.path for entry in survey(folder))
    entry = str(manifest.get("entry_point", BY_ROUTES)).removesuffix(".py") + ".py"
    return Old(
        folder.resolve().name,
        file,
        manifest,
        _info(folder, files, entry),
        files,
        _requirements(folder) if REQUIREMENTS in files else (),
        any(_FASTAPI.search(_read(folder / path, MAX_SOURCE)) for path in files if path.endswith(".py")),
    )


def _manifest(folder: Path) -> tuple[str, Mapping[str, Any]]:
    try:
        for name, load in ((MANIFEST, _yaml), (JSON_MANIFEST, _json)):
            if (folder / name).is_file():
                data = load(_read(folder / name, yamlsafe.MAX_BYTES), name)
                if not isinstance(data, dict):
                    raise InvalidSpec(f"{name} must be a mapping of names to values")
                return name, data
    except InvalidManifest as error:
        raise InvalidSpec(error.detail, error.problems) from error
    return "", {}


def _yaml(text: bytes, name: str) -> Any:
    return yamlsafe.load(text, name=name)[0]


def _json(text: bytes, name: str) -> Any:
    return jsonsafe.load(text, name=name)


def _info(folder: Path, files: frozenset[str], entry: str) -> Mapping[str, Any] | None:
    """PLUGIN_INFO of the entry point or of the package it lies in."""
    package = f"{entry.rpartition('/')[0]}/__init__.py".lstrip("/")
    for path in (entry, package):
        source = _read(folder / path, MAX_SOURCE) if path in files else b""
        node = _assigned(source, path) if INFO.encode() in source else None
        if node is not None:
            return _literal(node, path)
    return None


def _assigned(source: bytes, path: str) -> ast.expr | None:
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidSpec(f"{path} is not valid Python", [Problem(path, str(error)[:200])]) from None
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == INFO for target in targets):
            return getattr(node, "value", None)
    return None


def _literal(node: ast.expr, path: str) -> Mapping[str, Any]:
    try:
        info = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        info = None
    if not isinstance(info, dict) or not all(isinstance(key, str) for key in info):
        what = "must be a dictionary of plain values: it is read, and no code is run to make it"
        raise InvalidSpec(f"{INFO} in {path} cannot be read", [Problem(INFO, what)])
    return info


def _requirements(folder: Path) -> tuple[str, ...]:
    text = _read(folder / REQUIREMENTS, MAX_SOURCE).decode("utf-8", "replace")
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def _read(path: Path, most: int) -> bytes:
    """The file itself, never what a link leads to; at most so many bytes, and one more that tells of them."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(path)
        return file.read(most + 1)
