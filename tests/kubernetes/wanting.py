"""Plugins applied by kubectl beside hello, and what is told of them."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.commands import ClusterError, wait_for
from tests.kubernetes.release import Release
from xcore.manifest import API_VERSION

MADE = "deployments,replicasets,pods,networkpolicies,poddisruptionbudgets,configmaps,controllerrevisions"
HELLO_CODE = {"source": {"configMap": "hello-code"}, "entrypoint": "main:Hello", "config": {"greeting": "Hi"}}


def plugin(name: str, **spec: Any) -> dict[str, Any]:
    """A plugin with the code of hello, but for what is said here."""
    told = {"version": "1.0.0", **HELLO_CODE, **spec}
    if "image" in told["source"]:
        del told["entrypoint"]
    return {"apiVersion": API_VERSION, "kind": "Plugin", "metadata": {"name": name}, "spec": told}


def code(name: str, text: str) -> dict[str, Any]:
    """A ConfigMap with this `main.py`."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"main.py": text}}


def apply(release: Release, *items: dict[str, Any], place: str = "") -> None:
    """Into the release's namespace of plugins, or another place."""
    documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    release.cluster.kubectl("apply", "-n", place or release.plugins, "-f", "-", input=documents)


def delete(release: Release, *items: dict[str, Any], place: str = "", wait: bool = False) -> None:
    named = [f"{item['kind'].lower()}/{item['metadata']['name']}" for item in items]
    at = ("-n", place or release.plugins, "--ignore-not-found", f"--wait={str(wait).lower()}")
    release.cluster.kubectl("delete", *named, *at)


def patch(release: Release, name: str, **spec: Any) -> None:
    """Change some of a plugin's spec."""
    change = json.dumps({"spec": spec})
    release.cluster.kubectl("patch", "plugin", name, "-n", release.plugins, "--type=merge", "--patch", change)


def status(release: Release, name: str, place: str = "") -> dict[str, Any]:
    """What its resource says; empty when it says nothing, or is not there."""
    try:
        found: dict[str, Any] = release.cluster.get("plugin", name, "-n", place or release.plugins)
    except ClusterError:
        return {}
    told: dict[str, Any] = found.get("status", {})
    return told


def condition(release: Release, name: str, kind: str, place: str = "") -> tuple[str, str, str]:
    """Status, reason and message of one of its conditions."""
    conditions = status(release, name, place).get("conditions", ())
    found = next((c for c in conditions if c["type"] == kind), None)
    return (found["status"], found["reason"], found["message"]) if found else ("", "", "")


def ready(release: Release, name: str, place: str = "", *, seconds: int = 60) -> None:
    """Wait until it is."""
    at = ("-n", place or release.plugins, f"--timeout={seconds}s")
    release.cluster.kubectl("wait", "--for=condition=Ready", f"plugin/{name}", *at)


def left(release: Release, name: str) -> list[str]:
    """Every object there is of a plugin."""
    found = release.cluster.get(MADE, "-n", release.plugins, f"--selector=xcore.dev/plugin={name}")
    return [f"{item['kind']}/{item['metadata']['name']}" for item in found]


def pods(release: Release, name: str) -> list[dict[str, Any]]:
    """Its pods that stay."""
    selector = f"--selector=xcore.dev/plugin={name},pod-template-hash"
    found = release.cluster.get("pods", "-n", release.plugins, selector)
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def instances(release: Release) -> dict[str, int]:
    """What runs of hello and of the controller, with how often each was started again."""
    selectors = {
        release.name: "app.kubernetes.io/component=controller",
        release.plugins: "xcore.dev/plugin=hello",
    }
    found = [
        pod
        for place, selector in selectors.items()
        for pod in release.cluster.get("pods", "-n", place, f"--selector={selector},pod-template-hash")
    ]
    return {
        pod["metadata"]["name"]: sum(told["restartCount"] for told in pod["status"]["containerStatuses"])
        for pod in found
    }


def comes(release: Release, name: str, kind: str, reason: str, words: str = "", *, seconds: int = 40) -> str:
    """Wait until a condition has this reason and these words; gives its message."""
    told: list[tuple[str, str, str]] = []

    def so() -> bool:
        told.append(condition(release, name, kind))
        return told[-1][1] == reason and words in told[-1][2]

    try:
        wait_for(so, f"{name}: {kind} {reason}", seconds=seconds)
    except ClusterError as error:
        raise ClusterError(f"{error}; told: {told[-1] if told else None}") from error
    return told[-1][2]
