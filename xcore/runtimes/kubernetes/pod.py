"""The hardened pod of a sandbox: a workload in, a pod template out. Pure.

Nothing in a manifest can widen it: it passes Pod Security "restricted" by the API server's own admission. Field names are
those of the Kubernetes API (core/v1); every value has its reason in docs/isolation.md.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xcore.instance_spec import Storage
from xcore.plugin.calling import CALL_TOKEN
from xcore.runtimes.told import CALLS_DIR, CODE_DIR, SECRETS_DIR, environment, is_image, may_call
from xcore.spec import ProbeSpec
from xcore.workload import Workload

PORT = 8080
CONTAINER = "plugin"
CALLS_ADDRESS = "PLUGIN_CALLS_ADDRESS"
# Made for this use alone: the API server takes no such token for its own.
AUDIENCE, TOKEN_SECONDS = "calls.xcore.dev", 3600
# No sandbox shares its uid with another: per-uid limits of the kernel would be shared, too.
FIRST_UID, UIDS = 100_000, 1 << 30
# Requests still come for a moment after an instance was told to end: routes are read by others.
LINGER_SECONDS = 3
LOST_NODE_SECONDS = 30
SCRATCH = "64Mi"
RESERVED = 0.1  # of the processor time a plugin may use
_NAME = "xcore.dev/plugin"


@dataclass(frozen=True, slots=True)
class Given:
    """What a pod is given. `code`: the ConfigMap that holds it; `places`: its keys, and where each file lies.

    `calls`: where it calls other plugins, numeric HOST:PORT; for one that does.
    """

    image: str
    code: str | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    calls: str = ""


def pod_spec(workload: Workload, given: Given) -> dict[str, Any]:
    """Give the spec of the pod."""
    spec, uid = workload.manifest.spec, uid_of(workload)
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # No resolver: the field may not be empty.
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "hostname": "plugin",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": uid,
            "runAsGroup": uid,
            "fsGroup": uid,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": math.ceil(spec.termination_grace_period_seconds) + LINGER_SECONDS,
        "tolerations": [_lost(condition) for condition in ("not-ready", "unreachable")],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {_NAME: workload.name}},
                # Else pods of the revision before count, and the new ones may end up on one node.
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
        "volumes": _volumes(workload, given),
        "containers": [_container(workload, given)],
        **({"runtimeClassName": spec.runtime_class} if spec.runtime_class else {}),
    }


def uid_of(workload: Workload) -> int:
    """Give a uid of its own to each namespace and name: the same everywhere, without asking anybody."""
    namespace = workload.origin.namespace if workload.origin else ""
    digest = hashlib.sha256(f"{namespace}/{workload.name}".encode()).digest()
    return FIRST_UID + int.from_bytes(digest[:8]) % UIDS


def claim_name(workload: Workload, storage: Storage) -> str:
    return f"xcore-{workload.name}-{storage.name}"


def port_of(workload: Workload) -> int:
    return workload.manifest.spec.source.tcp_port or PORT


def _lost(condition: str) -> dict[str, Any]:
    return {
        "key": f"node.kubernetes.io/{condition}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": LOST_NODE_SECONDS,
    }


def _container(workload: Workload, given: Given) -> dict[str, Any]:
    spec = workload.manifest.spec
    limits = {
        "cpu": f"{round(spec.resources.cpu_cores * 1000)}m",
        "memory": str(spec.resources.memory_bytes),
        "ephemeral-storage": SCRATCH,
    }
    # Memory is never promised twice; processor time that an idle plugin leaves is for the others.
    reserved = f"{max(1, round(spec.resources.cpu_cores * 1000 * RESERVED))}m"
    told = environment(workload, listen={"PORT": str(PORT)})
    if may_call(workload):
        told[CALLS_ADDRESS] = given.calls
    return {
        "name": CONTAINER,
        "image": given.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in told.items()],
        "ports": [{"name": "http", "containerPort": port_of(workload), "protocol": "TCP"}],
        "resources": {"limits": limits, "requests": {**limits, "cpu": reserved}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(workload, given),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # its last line is why it ended
        "lifecycle": {"preStop": {"sleep": {"seconds": LINGER_SECONDS}}},
        **_probes(workload),
    }


def _mounts(workload: Workload, given: Given) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if given.code is not None:
        mounts.append({"name": "code", "mountPath": CODE_DIR, "readOnly": True})
    if may_call(workload):
        mounts.append({"name": "calls", "mountPath": CALLS_DIR, "readOnly": True})
    kept = workload.manifest.spec.storage
    mounts += [{"name": _volume_name(storage), "mountPath": storage.mount_path} for storage in kept]
    for number, name in enumerate(_secrets(workload)):
        mounts.append({"name": f"secret-{number}", "mountPath": f"{SECRETS_DIR}/{name}", "readOnly": True})
    return mounts


def _volumes(workload: Workload, given: Given) -> list[dict[str, Any]]:
    size = str(workload.manifest.spec.resources.tmp_bytes)
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": size}},  # counts as memory
    ]
    if given.code is not None:
        items = [{"key": key, "path": path} for key, path in given.places.items()]
        source = {"name": given.code, "items": items, "defaultMode": 0o444}
        volumes.append({"name": "code", "configMap": source})
    if may_call(workload):
        token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": CALL_TOKEN}
        sources = [{"serviceAccountToken": token}]
        volumes.append({"name": "calls", "projected": {"sources": sources, "defaultMode": 0o440}})
    for storage in workload.manifest.spec.storage:
        claim = {"claimName": claim_name(workload, storage)}
        volumes.append({"name": _volume_name(storage), "persistentVolumeClaim": claim})
    for number, (name, keys) in enumerate(_secrets(workload).items()):
        chosen = {"items": [{"key": key, "path": key} for key in keys]} if keys else {}
        secret = {"secretName": name, "defaultMode": 0o440, **chosen}
        volumes.append({"name": f"secret-{number}", "secret": secret})
    return volumes


def _volume_name(storage: Storage) -> str:
    """Of 63 characters at most, as labels are, and unlike any other volume's."""
    digest = hashlib.sha256(storage.name.encode()).hexdigest()[:6]
    return f"data-{storage.name[:40].rstrip('-')}-{digest}"


def _secrets(workload: Workload) -> dict[str, list[str]]:
    """Give each secret with the keys wanted from it; none named means all. The controller never reads them."""
    found: dict[str, list[str]] = {}
    everything = {ref.name for ref in workload.manifest.spec.secrets if ref.key is None}
    for ref in workload.manifest.spec.secrets:
        keys = found.setdefault(ref.name, [])
        if ref.key is not None and ref.name not in everything and ref.key not in keys:
            keys.append(ref.key)
    return found


def _probes(workload: Workload) -> dict[str, Any]:
    probes = workload.manifest.spec.probes
    kinds = {"startup": probes.startup, "readiness": probes.readiness, "liveness": probes.liveness}
    return {f"{kind}Probe": _probe(workload, probe) for kind, probe in kinds.items()}


def _probe(workload: Workload, probe: ProbeSpec) -> dict[str, Any]:
    """Ask by HTTP; of an image without a path of its own, by a connection."""
    asked: dict[str, Any] = {"httpGet": {"path": probe.path, "port": "http"}}
    if is_image(workload) and "path" not in probe.model_fields_set:
        asked = {"tcpSocket": {"port": "http"}}
    return {
        **asked,
        "periodSeconds": math.ceil(probe.period_seconds),  # Kubernetes counts whole seconds
        "timeoutSeconds": math.ceil(probe.timeout_seconds),
        "failureThreshold": probe.failure_threshold,
        "successThreshold": 1,
    }
