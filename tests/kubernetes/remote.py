"""A release as a client outside has it: what a controller is asked, whatever it runs on."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import httpx

from tests.harness import Answer
from tests.kubernetes.release import Release
from tests.kubernetes.serving import service_of
from tests.kubernetes.wanting import code, plugin, ready


@dataclass
class Remote:
    """Asks `url`, with the administrator's key."""

    release: Release
    url: str
    key: str

    def request(self, method: str, path: str, **more: Any) -> Answer:
        """One request, on a connection of its own: so the Service picks the replica."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.request(method, self.url + path, headers=headers, timeout=30, trust_env=False, **more)
        return Answer(answer.status_code, answer.headers, answer.content)

    def call(self, name: str, action: str, arguments: dict[str, Any] | None = None) -> Answer:
        return self.request("POST", f"/app/{name}/{action}", json=arguments or {})

    def wait_ready(self, name: str) -> None:
        ready(self.release, name)

    def at(self, url: str) -> Remote:
        """The same, asked there."""
        return Remote(self.release, url, self.key)


def remote_of(release: Release) -> Remote:
    """Ask its Service."""
    return Remote(release, service_of(release), release.key())


def coded(name: str, text: str, entry: str, **spec: Any) -> list[dict[str, Any]]:
    """A plugin and the ConfigMap with its code."""
    source = {"source": {"configMap": f"{name}-code"}, "entrypoint": f"main:{entry}", "config": {}}
    return [code(f"{name}-code", textwrap.dedent(text)), plugin(name, **source, **spec)]
