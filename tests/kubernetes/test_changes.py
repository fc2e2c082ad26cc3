"""A resource or its code is changed at the worst moment: while it rolls, while it starts, into something broken."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.cluster.commands import wait_for
from tests.kubernetes.release import Release
from tests.kubernetes.serving import calling, controllers, service_of, until
from tests.kubernetes.wanting import (
    apply,
    code,
    comes,
    condition,
    delete,
    instances,
    left,
    patch,
    plugin,
    pods,
    ready,
    status,
)

pytestmark = pytest.mark.kubernetes
SLOW = """
import asyncio
from xcore.plugin import Plugin, action


class Slow(Plugin):
    async def startup(self) -> None:
        await asyncio.sleep(self.context.config["seconds"])

    @action(safe=True)
    async def version(self) -> str:
        return self.context.version
"""
AGES = {"version": "2.0.0", "config": {"seconds": 3600}}


def slow(name: str, **spec: Any) -> dict[str, Any]:
    told = {"source": {"configMap": "slow-code"}, "entrypoint": "main:Slow", "config": {"seconds": 0}}
    return plugin(name, **{**told, **spec})


def version_of(release: Release, name: str) -> str:
    headers = {"Authorization": f"Bearer {release.key()}"}
    url = f"{service_of(release)}/app/{name}/version"
    return httpx.get(url, headers=headers, trust_env=False).text


async def test_a_plugin_edited_while_it_rolls_ends_up_as_it_was_edited_last(pair: Release) -> None:
    """The revision between is given up half-way; no call fails, and nothing of it is left."""
    document = slow("edited")
    apply(pair, code("slow-code", SLOW), document)
    ready(pair, "edited")
    try:
        async with calling(service_of(pair), pair.key(), action="edited/version") as calls:
            patch(pair, "edited", **AGES)
            await until(lambda: len(pods(pair, "edited")) == 2, "an instance of the second", seconds=20)
            assert condition(pair, "edited", "Progressing")[1] == "RollingOut"
            patch(pair, "edited", version="3.0.0", config={"seconds": 0})
            await until(lambda: version_of(pair, "edited") == '"3.0.0"', "the third version", seconds=40)
            await until(lambda: len(pods(pair, "edited")) == 1, "one instance", seconds=20)
        assert calls.failed == {}
        comes(pair, "edited", "Progressing", "NewRevisionAvailable")
        told = status(pair, "edited")
        found = pair.cluster.get("plugin", "edited", "-n", pair.plugins)
        assert told["observedGeneration"] == found["metadata"]["generation"]
        assert told["restarts"]["count"] == 0
    finally:
        delete(pair, document)


def test_a_plugin_deleted_while_it_starts_leaves_no_object(pair: Release) -> None:
    """Pod, policy, code: all of it is gone, and its name is unknown to every controller."""
    document = slow("unborn", **AGES)
    apply(pair, code("slow-code", SLOW), document)
    wait_for(lambda: len(pods(pair, "unborn")) == 1, "its pod", seconds=30)
    delete(pair, document, wait=True)
    wait_for(lambda: left(pair, "unborn") == [], "nothing left", seconds=40)
    headers = {"Authorization": f"Bearer {pair.key()}"}
    for url in controllers(pair).values():
        assert httpx.get(f"{url}/app/unborn/version", headers=headers, trust_env=False).status_code == 404


async def test_code_broken_in_its_config_map_does_not_replace_what_serves(pair: Release) -> None:
    """The old code serves on without a gap, why is told; the next good edit is taken."""
    document = plugin("fragile", source={"configMap": "fragile-code"}, entrypoint="main:Slow")
    document["spec"]["config"] = {"seconds": 0}
    apply(pair, code("fragile-code", SLOW), document)
    ready(pair, "fragile")
    try:
        async with calling(service_of(pair), pair.key(), action="fragile/version") as calls:
            apply(pair, code("fragile-code", "raise RuntimeError('it was edited badly')"))
            await until(
                lambda: condition(pair, "fragile", "Progressing")[1] == "RolledBack", "a way back", seconds=40
            )
            assert "it was edited badly" in condition(pair, "fragile", "Progressing")[2]
            assert condition(pair, "fragile", "Ready")[0] == "True"
            apply(pair, code("fragile-code", SLOW.replace("self.context.version", "'mended'")))
            await until(lambda: version_of(pair, "fragile") == '"mended"', "the mended code", seconds=40)
        assert calls.failed == {}
    finally:
        delete(pair, document, code("fragile-code", ""))


def test_a_plugin_that_a_finalizer_holds_is_told_and_hurts_nobody(pair: Release) -> None:
    """Deleted, nothing of it runs and it says what it waits for; it goes with the finalizer, and the name can be had again."""
    before = instances(pair)
    document = plugin("held")
    document["metadata"]["finalizers"] = ["example.com/held"]
    at = ("plugin", "held", "-n", pair.plugins)
    apply(pair, document)
    try:
        ready(pair, "held")
        pair.cluster.kubectl("delete", *at, "--wait=false")
        message = comes(pair, "held", "Ready", "Terminating")
        assert message.endswith("until its finalizers are removed: example.com/held")
        wait_for(lambda: pods(pair, "held") == [], "no instance", seconds=30)
        headers = {"Authorization": f"Bearer {pair.key()}"}
        url = service_of(pair)
        assert httpx.post(f"{url}/app/held/greet", headers=headers, trust_env=False).status_code == 404
        again = plugin("held", source={"image": "x.invalid/y:1"})
        refused = httpx.post(f"{url}/api/v1/plugins", headers=headers, json=again, trust_env=False)
        assert (refused.status_code, refused.headers["xcore-reason"]) == (409, "Conflict")
        assert "being deleted" in refused.json()["detail"]
    finally:
        pair.cluster.kubectl(
            "patch", *at, "--type=merge", "--patch", json.dumps({"metadata": {"finalizers": None}})
        )
    wait_for(lambda: left(pair, "held") == [] and not status(pair, "held"), "nothing left", seconds=40)
    assert instances(pair) == before
