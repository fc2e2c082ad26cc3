"""Code as an immutable ConfigMap named by its digest, and read back from one. Pure but for reading the code.

The files are f0, f1 …, for a key of a ConfigMap may not hold a slash; what each is called stands in an index beside them.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from xcore.errors import InvalidBundle

Object = dict[str, Any]
# Whose code is kept for as long as a kept revision names it.
BUNDLE = "xcore.dev/bundle"
# The bound Kubernetes has for a ConfigMap, with room for names.
MAX_CODE = 1000 * 1024
_INDEX = "index.json"
_SHORT = 12


@dataclass(frozen=True, slots=True)
class CodeFile:
    path: str
    content: bytes
    executable: bool = False


def code_name(plugin: str, digest: str) -> str:
    """Name the ConfigMap that holds a plugin's code."""
    return f"xcore-{plugin}-{digest[:_SHORT]}"


def code_map(directory: Path, plugin: str, meta: Object, *, bundle: bool) -> tuple[Object, dict[str, str]]:
    """Give the ConfigMap of a snapshot, and where each of its keys belongs; raises InvalidBundle for what does not fit."""
    digest, files = directory.name, _read(directory)
    index = json.dumps([[file.path, file.executable] for file in files])
    if sum(len(file.content) for file in files) + len(index) > MAX_CODE:
        raise InvalidBundle(f"code over {MAX_CODE // 1024} KiB does not fit a ConfigMap: xcore pack --image")
    keyed = {f"f{number}": file for number, file in enumerate(files)}
    labels = {**meta["labels"], **({BUNDLE: digest[:_SHORT]} if bundle else {})}
    item = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**meta, "name": code_name(plugin, digest), "labels": labels},
        "immutable": True,
        "data": {_INDEX: index},
        "binaryData": {key: base64.b64encode(file.content).decode() for key, file in keyed.items()},
    }
    return item, {key: file.path for key, file in keyed.items()}


def code_files(item: Object) -> list[CodeFile]:
    """Give what such a ConfigMap holds; raises InvalidBundle for one that somebody else made up."""
    try:
        index = json.loads(item["data"][_INDEX])
        contents = item.get("binaryData", {})
        return [
            CodeFile(_inside(path), base64.b64decode(contents[f"f{number}"]), bool(executable))
            for number, (path, executable) in enumerate(index)
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidBundle(f"the ConfigMap {item['metadata']['name']} is not one that xcore made") from error


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(path)
    return path


def _read(directory: Path) -> list[CodeFile]:
    paths = sorted(Path(folder) / name for folder, _, names in os.walk(directory) for name in names)
    return [
        CodeFile(path.relative_to(directory).as_posix(), path.read_bytes(), os.access(path, os.X_OK))
        for path in paths
    ]
