"""Code in a ConfigMap: read, snapshotted like a folder, and looked at again: a change rolls the plugin.

The keys are the names of files. What runs is an immutable copy of the revision, so an edit half-way through never does.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections.abc import Callable
from pathlib import Path

from xcore.bundle import Snapshots
from xcore.errors import ConfigMapNotFound, InvalidBundle
from xcore.loader import Declared
from xcore.runtimes.kubernetes.client import Cluster, Object
from xcore.runtimes.kubernetes.objects import collection
from xcore.sources import Prepared

FRESH_SECONDS = 15.0


class CodeMaps:
    """See `Preparation`."""

    fresh_seconds: float | None = FRESH_SECONDS

    def __init__(self, cluster: Cluster, snapshots: Snapshots) -> None:
        self._cluster, self._snapshots = cluster, snapshots

    def key(self, declared: Declared) -> str | None:
        if declared.manifest is None or declared.origin is None:
            return None
        name = declared.manifest.spec.source.config_map
        return f"{declared.origin.namespace}/{name}" if name else None

    async def prepare(self, declared: Declared, say: Callable[[str], None]) -> Prepared:
        assert declared.manifest is not None
        assert declared.origin is not None
        say("reading its ConfigMap")
        namespace, name = declared.origin.namespace, declared.manifest.spec.source.config_map
        found = await self._cluster.get(f"{collection('ConfigMap', namespace)}/{name}")
        if found is None:
            raise ConfigMapNotFound(f"there is no ConfigMap {name} in the namespace {namespace}")
        digest, code = await asyncio.to_thread(self._take, found)
        return Prepared(code=code, digest=digest)

    def _take(self, found: Object) -> tuple[str, Path]:
        files = {name: text.encode() for name, text in found.get("data", {}).items()}
        files |= {name: base64.b64decode(text) for name, text in found.get("binaryData", {}).items()}
        if not files:
            raise InvalidBundle(f"the ConfigMap {found['metadata']['name']} is empty")
        with tempfile.TemporaryDirectory(prefix="xcore-code-") as directory:
            for name, content in files.items():  # a key holds no slash, and is neither . nor ..
                (Path(directory) / name).write_bytes(content)
            return self._snapshots.take(Path(directory))
