"""What a cluster cannot honour, field by field: refused, never ignored. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from xcore.errors import Problem
from xcore.instance_spec import Resources
from xcore.manifest import Manifest
from xcore.spec import RestartPolicy


def problems(manifest: Manifest, *, calls: bool) -> Sequence[Problem]:
    """Name each field that has a value other than this runtime can give. `calls`: whether plugins may call each other."""
    spec = manifest.spec
    found = []
    if spec.source.folder is not None:
        found.append(Problem("spec.source.folder", "must be configMap, bundle or image in a cluster"))
    if spec.source.socket is not None:
        found.append(
            Problem("spec.source.socket", "must be a port in a cluster: pods have no socket to share")
        )
    if spec.calls and not calls:
        found.append(
            Problem(
                "spec.calls", "must be absent: this controller grants no calls (grantedCalls of its chart)"
            )
        )
    if spec.dependencies:
        found.append(
            Problem("spec.dependencies", "must be absent in a cluster: bake them in by xcore pack --image")
        )
    if spec.storage and spec.replicas > 1:
        found.append(
            Problem(
                "spec.replicas", "must be at most 1 with storage: one pod at a time may write to a volume"
            )
        )
    if spec.resources.pids_limit != Resources().pids_limit:
        found.append(
            Problem("spec.resources.pids", "is the node's to limit (podPidsLimit); leave it at its default")
        )
    if spec.restart.policy is not RestartPolicy.ALWAYS:
        found.append(
            Problem("spec.restart.policy", "must be Always in a cluster: a Deployment allows nothing else")
        )
    return found
