"""What the chart gives for some values, and what judges it: the schemas of Kubernetes, and checkov's policies."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from manifests.render import KUBE_VERSION

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
RELEASE, NAMESPACE = "xcore", "xcore-system"
# Everything optional at once.
EVERYTHING = {
    "replicas": "3",
    "imagePullSecrets[0].name": "pull",
    "database.existingSecret": "database",
    "settings.LOG_FORMAT": "json",
    "grantedCalls[0]": "shop:stock",
    "sandboxImage": "registry.example.com/sandbox:1",
    "ingress.enabled": "true",
    "ingress.className": "nginx",
    "ingress.host": "plugins.example.com",
    "ingress.tlsSecret": "tls",
    "httpRoute.enabled": "true",
    "httpRoute.parentRefs[0].name": "gateway",
    "serviceMonitor.enabled": "true",
    "networkPolicy.from[0].podSelector.matchLabels.app": "gateway",
    "podAnnotations.team": "platform",
    "nodeSelector.disk": "fast",
    "tolerations[0].key": "dedicated",
}

Object = dict[str, Any]


def helm_template(helm: Path, **values: str) -> subprocess.CompletedProcess[str]:
    command = [helm, "template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", KUBE_VERSION]
    for name, value in values.items():
        command += ["--set-string" if name.startswith("settings.") else "--set", f"{name}={value}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def rendered(helm: Path, **values: str) -> str:
    done = helm_template(helm, **values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[Object]:
    return [document for document in yaml.safe_load_all(text) if document]


def named(text: str, kind: str) -> list[Object]:
    return [document for document in objects(text) if document["kind"] == kind]


def pods(text: str) -> Iterator[tuple[str, Object]]:
    """Name and spec of each pod, or of what a Deployment makes."""
    for document in objects(text):
        spec = document.get("spec", {})
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], spec
        elif "template" in spec:
            yield document["metadata"]["name"], spec["template"]["spec"]


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a checking tool from PyPI in an environment of its own: what they need is none of the lock's business."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]
    uv = Path(sys.executable).with_name("uv")
    chosen = ("tool", "run", "--python", sys.executable, "--exclude-newer", settings["exclude-newer"])
    return subprocess.run(
        [uv, *chosen, *command],
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
