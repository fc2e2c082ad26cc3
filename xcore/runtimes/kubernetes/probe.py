"""Is a plugin's network really closed? Asked by a pod of its own, with the plugin's labels, policy and limits, never by exec. Pure.

The pod tries what must not be possible: to reach places that are known to listen. Reached means that a connection was made
or refused: either way something came through. It tries for a few seconds, for policies may take a moment to hold.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xcore.runtimes.kubernetes.client import Object
from xcore.runtimes.kubernetes.pod import CONTAINER

PROBE = "xcore.dev/probe"
DEADLINE_SECONDS = 60
# How long a verdict holds: an open network may be closed any time by whoever runs the cluster.
CLOSED_SECONDS, OPEN_SECONDS = 3600.0, 120.0
_SCRIPT = """\
import json, socket, sys, time
places = json.loads(sys.argv[1])
for attempt in range(4):
    reached = []
    for host, port in places:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.settimeout(1.5)
        try:
            sock.connect((host, port))
            reached.append(f"{host}:{port}")
        except ConnectionRefusedError:
            reached.append(f"{host}:{port}")
        except OSError:
            pass
        finally:
            sock.close()
    if not reached:
        break
    time.sleep(1)
with open("/dev/termination-log", "w") as log:
    json.dump(reached, log)
"""

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of which policy, when (epoch seconds), whether the network is closed (None: could not be told), and what was found."""

    policy: str = ""
    at: float = 0.0
    closed: bool | None = None
    detail: str = ""

    def holds(self, policy: str, now: float) -> bool:
        """Tell whether it need not be asked again."""
        return self.policy == policy and now - self.at < (CLOSED_SECONDS if self.closed else OPEN_SECONDS)

    @property
    def condition(self) -> tuple[str, str, str]:
        """The NetworkIsolated condition: status, reason, message."""
        if self.closed is None:
            return "Unknown", "NotProbed", self.detail or "its network has not been tried yet"
        return ("True", "Enforced", "") if self.closed else ("False", "NotEnforced", self.detail)


def probe_pod(deployment: Object, places: Sequence[Place]) -> Object:
    """Give the pod that asks for the plugin of a Deployment: as its own pods are, but for the command and its volumes."""
    meta, template = deployment["metadata"], deployment["spec"]["template"]
    container = next(each for each in template["spec"]["containers"] if each["name"] == CONTAINER)
    kept = ("image", "imagePullPolicy", "securityContext", "resources")
    asking: dict[str, Any] = {
        "name": CONTAINER,
        **{key: container[key] for key in kept if key in container},
        "command": ["python3", "-c", _SCRIPT, json.dumps(places)],
        "terminationMessagePolicy": "File",
    }
    left = ("containers", "volumes", "topologySpreadConstraints", "hostname")
    spec = {key: value for key, value in template["spec"].items() if key not in left}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{meta['name'][:200]}-probe-{secrets.token_hex(3)}",
            "namespace": meta["namespace"],
            "labels": {**meta["labels"], PROBE: "true"},
            "ownerReferences": meta.get("ownerReferences", []),
        },
        "spec": {
            **spec,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "terminationGracePeriodSeconds": 0,
            "containers": [asking],
        },
    }


def is_probe(pod: Object) -> bool:
    return PROBE in pod["metadata"].get("labels", {})


def is_over(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def verdict_of(pod: Object, policy: str, now: float) -> Verdict:
    """Read what a probe that is over found."""
    statuses = pod.get("status", {}).get("containerStatuses", ())
    ended = next((s.get("state", {}).get("terminated") for s in statuses), None) or {}
    try:
        reached = json.loads(ended.get("message", ""))
    except ValueError:
        return Verdict(
            policy, now, None, f"the probe failed: {pod['status'].get('reason') or ended.get('reason', '')}"
        )
    if reached:
        return Verdict(policy, now, closed=False, detail=f"a sandbox reaches {', '.join(reached)}")
    return Verdict(policy, now, closed=True)


def policy_id(policy: Object) -> str:
    """Name what a NetworkPolicy says."""
    return hashlib.sha256(json.dumps(policy["spec"], sort_keys=True).encode()).hexdigest()[:12]
