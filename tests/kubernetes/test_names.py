"""Names and namespaces of others: who has a name keeps it, and what is not the controller's it does not touch."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import httpx
import pytest

from tests.cluster.commands import wait_for
from tests.kubernetes.release import Release
from tests.kubernetes.serving import controllers, service_of
from tests.kubernetes.wanting import MADE, apply, code, condition, delete, plugin, ready, status

pytestmark = pytest.mark.kubernetes


def says(release: Release, name: str) -> str:
    """What greet of a plugin answers."""
    headers = {"Authorization": f"Bearer {release.key()}"}
    url = f"{service_of(release)}/app/{name}/greet"
    return httpx.post(url, headers=headers, json={"name": "Ada"}, trust_env=False).text


def test_of_two_that_want_one_name_the_older_has_it(pair: Release) -> None:
    """The younger, in another namespace, is told who has it and runs nothing; it gets the name when the older is deleted."""
    text = pair.cluster.get("configmap", "hello-code", "-n", pair.plugins)["data"]["main.py"]
    older = plugin("twin", config={"greeting": "Older"})
    younger = plugin("twin", config={"greeting": "Younger"})
    copy = code("hello-code", text)
    apply(pair, older)
    ready(pair, "twin")
    apply(pair, copy, younger, place=pair.name)
    try:
        wait_for(
            lambda: condition(pair, "twin", "Accepted", pair.name)[1] == "RouteConflict",
            "a refusal",
            seconds=20,
        )
        message = condition(pair, "twin", "Accepted", pair.name)[2]
        assert message == f"the resource {pair.plugins}/twin already has the name twin"
        assert pair.cluster.get("pods", "-n", pair.name, "--selector=xcore.dev/plugin=twin") == []
        assert says(pair, "twin") == '"Older Ada"'
        delete(pair, older)
        ready(pair, "twin", pair.name)
        wait_for(lambda: says(pair, "twin") == '"Younger Ada"', "the younger one", seconds=20)
    finally:
        delete(pair, younger, copy, place=pair.name)


@pytest.fixture
def elsewhere(pair: Release) -> Iterator[str]:
    """A namespace that no setting names."""
    name = f"elsewhere-{secrets.token_hex(3)}"
    pair.cluster.kubectl("create", "namespace", name)
    yield name
    pair.cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_a_plugin_in_a_namespace_that_is_not_the_controllers_is_left_alone(
    pair: Release, elsewhere: str
) -> None:
    """It gets neither status nor objects nor a route, although later ones of the controller's do."""
    apply(pair, plugin("stray"), place=elsewhere)
    later = plugin("later", operatingMode="Suspended")
    apply(pair, later)
    wait_for(lambda: status(pair, "later") != {}, "a status of a later one", seconds=20)
    delete(pair, later)
    assert status(pair, "stray", elsewhere) == {}
    assert pair.cluster.get(MADE, "-n", elsewhere, "--selector=xcore.dev/plugin") == []
    headers = {"Authorization": f"Bearer {pair.key()}"}
    for url in controllers(pair).values():
        assert httpx.post(f"{url}/app/stray/greet", headers=headers, trust_env=False).status_code == 404


def test_a_manifest_that_names_a_namespace_is_refused(pair: Release) -> None:
    """Whoever may send plugins does not choose where they run."""
    document = plugin("stray", source={"image": "x.invalid/y:1"})
    document["metadata"]["namespace"] = "kube-system"
    headers = {"Authorization": f"Bearer {pair.key()}"}
    answer = httpx.post(f"{service_of(pair)}/api/v1/plugins", headers=headers, json=document, trust_env=False)
    assert (answer.status_code, answer.headers["xcore-reason"]) == (422, "InvalidManifest")
    assert [error["field"] for error in answer.json()["errors"]] == ["metadata.namespace"]
