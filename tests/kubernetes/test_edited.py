"""Code in a ConfigMap is edited while it runs."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.kubernetes.release import Release
from tests.kubernetes.serving import calling, service_of, until

pytestmark = pytest.mark.kubernetes


async def test_edited_code_is_rolled_out_without_a_gap(pair: Release) -> None:
    """`kubectl edit` of the ConfigMap is enough: soon the new code answers, and no call failed."""
    at, cluster, url = ("configmap", "hello-code", "-n", pair.plugins), pair.cluster, service_of(pair)
    code = cluster.get(*at)["data"]["main.py"]

    def write(text: str) -> None:
        cluster.kubectl("patch", *at, "--type=merge", "--patch", json.dumps({"data": {"main.py": text}}))

    def answer() -> str:
        headers = {"Authorization": f"Bearer {pair.key()}"}
        return httpx.post(
            f"{url}/app/hello/greet", headers=headers, json={"name": "Ada"}, trust_env=False
        ).text

    async with calling(url, pair.key()) as calls:
        write(code.replace("['greeting']} {name}", "['greeting']}, {name}!"))
        try:
            await until(lambda: answer() == '"Hello, Ada!"', "the new code's answer", seconds=60)
        finally:
            write(code)
        await until(lambda: answer() == '"Hello Ada"', "the old code's answer", seconds=60)
    assert calls.failed == {}
