"""Sent plugins that need more than their code: locked dependencies, secrets, an image. Each serves, or says what it lacks."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox_image.tag import packages
from tests.harness import Controller, until
from tests.support import document, manifest
from tests.wheels import Index, index
from tests.xcore.archives import tar_gz
from xcore.packing.resolve import resolve

__all__ = ["index"]
AT = "/api/v1/plugins/hello"
CODE = """
from xcore.plugin import Plugin, action

class Hello(Plugin):
    @action
    async def tool(self) -> str:
        import tool
        return tool.VERSION

    @action
    async def secret(self) -> str:
        return self.context.secrets["mail/password"]
"""
PACK = "run `xcore pack DIR`"


@pytest.fixture
def controller(index: Index) -> Iterator[Controller]:
    """One that finds packages in the index of the test alone; nothing of what was sent is left at its end."""
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    (root / "plugins").mkdir()
    made = Controller(root / "plugins", root / "state", {"XCORE_RUNTIME": "process", "XCORE_ON_EXIT": "stop"})
    try:
        made.start()
        yield made
        made.request("DELETE", AT, params={"wait": "Gone"})
        assert left(made) == []
    finally:
        made.stop()
        shutil.rmtree(root)


def left(controller: Controller) -> list[str]:
    """What a plugin that is gone must not have left: orders, records, uploads, half-made trees, secrets, sockets."""
    places = ("store/plugins/*", "uploads/*", "sites/.staging-*", "handed/*", "run/*")
    return [str(path) for place in places for path in controller.state.glob(place)]


def put(controller: Controller, lock: str | None = None, **spec: Any) -> None:
    """Send it; whatever it lacks is found out later, and is no reason to refuse the order."""
    files = {"main.py": CODE.encode(), **({"plugin.lock": lock.encode()} if lock else {})}
    sent = {
        "manifest": ("m", json.dumps(document(**spec)), "application/json"),
        "archive": ("a", tar_gz(files)),
    }
    assert controller.request("PUT", AT, files=sent).status in {200, 201}


def lock(index: Index, *dependencies: str) -> str:
    return str(resolve(manifest(dependencies=list(dependencies)), None, packages(), index.job()))


def tells(controller: Controller, kind: str, reason: str, message: str) -> None:
    until(lambda: controller.condition("hello", kind) == ("False", reason, message), 20, message)


def test_its_dependencies_come_from_the_lock_it_brings(controller: Controller, index: Index) -> None:
    """That very version, also when the index has a newer one by now; another lock is another revision."""
    index.add("tool", "1.0")
    first = lock(index, "tool")
    index.add("tool", "2.0")
    put(controller, first, dependencies=["tool"])
    controller.wait_ready("hello")
    assert controller.call("hello", "tool").json == "1.0"
    put(controller, lock(index, "tool"), dependencies=["tool"])
    until(lambda: controller.call("hello", "tool").json == "2.0", 20, "the other lock")
    assert len(controller.request("GET", f"{AT}/revisions").json["items"]) == 2


def test_a_lock_that_is_missing_or_does_not_fit_is_told_while_the_old_one_serves(
    controller: Controller, index: Index
) -> None:
    """Reason and sentence with the remedy; the lock that fits mends it."""
    index.add("tool")
    index.add("other")
    put(controller, dependencies=["tool"])
    tells(controller, "Accepted", "InvalidBundle", f"there is no plugin.lock for spec.dependencies: {PACK}")
    refused = controller.call("hello", "tool")
    assert (refused.status, refused.reason) == (503, "PluginNotReady")
    put(controller, lock(index, "tool"), dependencies=["tool"])
    controller.wait_ready("hello")
    put(controller, lock(index, "tool", "other"), dependencies=["tool"])
    unfit = f"plugin.lock was made for other, which spec.dependencies no longer name: {PACK}"
    tells(controller, "Accepted", "InvalidBundle", unfit)
    put(controller, "tool==1.0\n", dependencies=["tool"])
    tells(controller, "Accepted", "InvalidBundle", f"plugin.lock is not a lock of this version: {PACK}")
    assert controller.call("hello", "tool").json == "1.0"


def test_a_lock_whose_hashes_are_not_those_of_the_index_is_refused(
    controller: Controller, index: Index
) -> None:
    """Somebody put another file in the place of the one that was locked."""
    index.add("tool")
    locked = lock(index, "tool")
    index.add("tool", "1.0", {"tool.py": "VERSION = 'another'\n"})
    put(controller, locked, dependencies=["tool"])
    sentence = "a package has another hash than the lock says: run `xcore pack --upgrade DIR`"
    tells(controller, "Accepted", "InvalidBundle", sentence)


def test_its_secrets_are_those_of_the_operator(controller: Controller) -> None:
    """One that is not there is named, and nothing runs; once it is there, the next version of the plugin has it."""
    put(controller, secrets=[{"name": "mail"}])
    tells(controller, "ResolvedRefs", "SecretNotFound", "there is no secret mail")
    assert controller.call("hello", "secret").reason == "PluginNotReady"
    folder = controller.state / "secrets" / "mail"
    folder.mkdir()
    (folder / "password").write_text("S3NT1NEL")
    put(controller, secrets=[{"name": "mail", "key": "password"}])
    controller.wait_ready("hello")
    assert controller.call("hello", "secret").json == "S3NT1NEL"
    told = controller.request("GET", f"{AT}/revisions").content + controller.request("GET", AT).content
    assert b"S3NT1NEL" not in told


def test_an_image_where_no_engine_runs_containers_is_refused_at_once(controller: Controller) -> None:
    """Nothing is kept of the order."""
    resource = document(entrypoint=None, source={"image": "team/web:1"})
    refused = controller.request("PUT", AT, json=resource)
    assert (refused.status, refused.reason) == (422, "NotSupported")
    assert refused.json["errors"] == [
        {
            "field": "spec.source.image",
            "message": "needs the docker runtime: a child process has no image",
        }
    ]
    assert left(controller) == []
