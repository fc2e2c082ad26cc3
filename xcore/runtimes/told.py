"""What a plugin inside a sandbox is told by its environment, whatever the sandbox is made of. Pure.

`PLUGIN_SPEC` (JSON: name, version, entrypoint, config, legacy) for the runner and for images alike; where the code, the secrets
and the packed dependencies lie; where to listen. What a manifest may set otherwise is set first, what it may not last.
"""

from __future__ import annotations

import json

from xcore.endpoint import SOCKET_NAME
from xcore.workload import Workload

SOCKET_DIR = "/run/plugin"
SECRETS_DIR = "/run/secrets"
CALLS_DIR = "/run/calls"
CODE_DIR = "/plugin"
SITE_DIR = "/site"
SOCKET = f"{SOCKET_DIR}/{SOCKET_NAME}"


def environment(workload: Workload, *, listen: dict[str, str]) -> dict[str, str]:
    """Give every variable. `listen`: how the runner is told where to listen; an image has its own place."""
    declared = {item.name: item.value for item in workload.manifest.spec.env}
    usual, fixed = _told_image(workload) if is_image(workload) else _told_runner(listen)
    told = {"HOME": "/tmp", **fixed, "PLUGIN_SPEC": plugin_spec(workload)}  # noqa: S108
    if workload.site is not None:
        told["PLUGIN_SITE"] = SITE_DIR
    if may_call(workload):
        told["PLUGIN_CALLS"] = CALLS_DIR
    return {**usual, **declared, **told}


def plugin_spec(workload: Workload) -> str:
    """What the runner is told, as JSON; nothing in it may change without a new revision."""
    spec = workload.manifest.spec
    told: dict[str, object] = {
        "name": workload.name,
        "version": spec.version,
        "entrypoint": spec.entrypoint,
        "config": spec.config,
    }
    if spec.legacy is not None:
        told["legacy"] = spec.legacy.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(told, separators=(",", ":"))


def may_call(workload: Workload) -> bool:
    return bool(workload.manifest.spec.calls)


def is_image(workload: Workload) -> bool:
    return workload.manifest.spec.source.image is not None


def _told_runner(listen: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Give what a manifest may set otherwise, and what it may not."""
    return {"OMP_NUM_THREADS": "1"}, {
        "LANG": "C.UTF-8",
        "PLUGIN_PATH": CODE_DIR,
        "PLUGIN_SECRETS": SECRETS_DIR,
        **listen,
    }


def _told_image(workload: Workload) -> tuple[dict[str, str], dict[str, str]]:
    """The same for an image: many listen where PORT says."""
    source = workload.manifest.spec.source
    if source.socket:
        return {}, {"PLUGIN_SOCKET": source.socket}
    return {"PORT": str(source.tcp_port)}, {}
