"""Why a manifest may not run here: a field nobody honours, trusted without leave. Pure but for the runtime's say."""

from __future__ import annotations

from xcore.errors import InvalidManifest, NotAllowedTrusted, NotSupported, XcoreError
from xcore.instance_spec import Isolation
from xcore.manifest import Manifest, not_yet
from xcore.runtimes.seams import Runtime


def objection(manifest: Manifest | None, runtime: Runtime, trusted: frozenset[str]) -> XcoreError | None:
    """The error to refuse it with, None when it may run. `trusted`: the names the operator trusts."""
    if manifest is None:
        return InvalidManifest("there is no manifest")
    name = manifest.metadata.name
    if manifest.spec.isolation is Isolation.TRUSTED and name not in trusted:
        return NotAllowedTrusted(f"{name} is not among the names in XCORE_TRUSTED")
    problems = [*not_yet(manifest), *runtime.check(manifest)]
    if problems:
        return NotSupported("this version or runtime cannot honour it", problems)
    return None
