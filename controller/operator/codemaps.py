"""Code in a ConfigMap, read and snapshotted like a folder.

An author's own: the keys are the names of files, and a change rolls the plugin. What runs is an
immutable copy of the revision, so an edit half-way through never does. And that of a bundle, which came through the API of
some replica: an immutable copy from the beginning, named by its digest, read by every other replica.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from xcore.bundle import Snapshots
from xcore.errors import BundleNotFound, ConfigMapNotFound, InvalidBundle
from xcore.loader import Declared
from xcore.runtimes.kubernetes.client import Cluster, Object
from xcore.runtimes.kubernetes.code import CodeFile, code_files, code_name
from xcore.runtimes.kubernetes.objects import collection
from xcore.sources import Prepared


class CodeMaps:
    """See `Preparation`. `version(namespace, name)` gives that of a ConfigMap, empty where there is none."""

    fresh_seconds: float | None = None  # a change makes another key

    def __init__(self, cluster: Cluster, snapshots: Snapshots, *, version: Callable[[str, str], str]) -> None:
        self._cluster, self._snapshots, self._version = cluster, snapshots, version

    def key(self, declared: Declared) -> str | None:
        if declared.manifest is None or declared.origin is None:
            return None
        namespace, name = declared.origin.namespace, declared.manifest.spec.source.config_map
        return f"{namespace}/{name}@{self._version(namespace, name)}" if name else None

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
        # A key holds no slash, and is neither . nor ..
        return _snapshot(self._snapshots, [CodeFile(name, content) for name, content in files.items()])


class Bundles:
    """See `Preparation`. Knows for which plugin the cluster has which code: nobody gets another's by naming it."""

    fresh_seconds: float | None = None  # its digest says what it is

    def __init__(self, cluster: Cluster, snapshots: Snapshots) -> None:
        self._cluster, self._snapshots = cluster, snapshots
        self._seen: dict[tuple[str, str], str] = {}

    def saw(self, namespace: str, plugin: str, digest: str) -> None:
        """Note that the cluster has this code for a plugin, and so has this replica."""
        self._seen[namespace, plugin] = digest

    def here(self, namespace: str, plugin: str, digest: str) -> Path | None:
        """Give the code, where that is so."""
        code = self._snapshots.path(digest)
        return code if self._seen.get((namespace, plugin)) == digest and code.is_dir() else None

    def key(self, declared: Declared) -> str | None:
        if declared.manifest is None or declared.origin is None or declared.code is not None:
            return None
        bundle = declared.manifest.spec.source.bundle
        return f"{declared.origin.namespace}/{bundle}" if bundle else None

    async def prepare(self, declared: Declared, say: Callable[[str], None]) -> Prepared:
        assert declared.manifest is not None
        assert declared.origin is not None
        say("reading its bundle")
        digest = (declared.manifest.spec.source.bundle or "").removeprefix("sha256:")
        plugin, namespace = declared.manifest.metadata.name, declared.origin.namespace
        name = code_name(plugin, digest)
        found = await self._cluster.get(f"{collection('ConfigMap', namespace)}/{name}")
        if found is None:
            raise BundleNotFound(
                f"there is no ConfigMap {name} with its code in the namespace {namespace}: send it again (xcore apply)"
            )
        taken, code = await asyncio.to_thread(self._take, found)
        if taken != digest:
            raise InvalidBundle(f"the ConfigMap {name} holds other code than the digest in source.bundle")
        self.saw(namespace, plugin, digest)
        return Prepared(code=code, digest=digest)

    def _take(self, found: Object) -> tuple[str, Path]:
        return _snapshot(self._snapshots, code_files(found))


def _snapshot(snapshots: Snapshots, files: Sequence[CodeFile]) -> tuple[str, Path]:
    with tempfile.TemporaryDirectory(prefix="xcore-code-") as directory:
        for file in files:
            path = Path(directory) / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(0o755 if file.executable else 0o644)
        return snapshots.take(Path(directory))
