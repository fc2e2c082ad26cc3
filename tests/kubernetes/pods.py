"""Pods for tests: restricted, small, made of the sandbox image's Python."""

from __future__ import annotations

import json
from typing import Any

SERVE = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8080, bind='0.0.0.0')"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 64000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def server(name: str, image: str, **spec: Any) -> str:
    """A pod that answers HTTP on port 8080, Ready when it does."""
    container = {
        "name": "server",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", SERVE],
        "workingDir": "/tmp",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
        "securityContext": RESTRICTED,
    }
    pod = {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False, **spec}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"containers": [container], **pod},
        }
    )
