"""What is written for a wish: its objects, worded so that no pod is replaced without a reason."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace

from xcore.errors import RuntimeUnavailable
from xcore.runtimes.kubernetes.client import Object
from xcore.runtimes.kubernetes.found import as_it_is, calls_of, revision_of
from xcore.runtimes.kubernetes.objects import Surroundings, Wish, wanted
from xcore.runtimes.told import may_call

RESOLVE_SECONDS = 5.0
# (plugin, namespace, revision) → the template of the pods of that revision, while the cluster keeps it.
TemplateOf = Callable[[str, str, str], Awaitable[Object | None]]


async def worded(
    wish: Wish, surroundings: Surroundings, deployment: Object | None, template_of: TemplateOf
) -> list[Object]:
    """Give the objects in the order they are to be made; raises RuntimeUnavailable, InvalidBundle.

    `deployment`: the one that is there.
    """
    workload = wish.workload
    calls = await numeric(surroundings.calls) if may_call(workload) else ""
    found = await asyncio.to_thread(wanted, wish, replace(surroundings, calls=calls))
    made = next(item for item in found if item["kind"] == "Deployment")
    if wish.instead:
        older = await template_of(workload.name, made["metadata"]["namespace"], wish.instead)
        made["spec"]["template"] = older or made["spec"]["template"]
    elif deployment is not None and (revision_of(deployment), calls_of(deployment)) == (
        workload.revision,
        calls,
    ):
        # Nothing is restarted only because a newer controller would word it otherwise; but for calls that would go nowhere.
        made["spec"]["template"] = as_it_is(deployment)
    return found


async def numeric(place: str) -> str:
    """Give HOST:PORT with an address for the name, which pods cannot look up; raises RuntimeUnavailable."""
    host, _, port = place.rpartition(":")
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        raise RuntimeUnavailable(f"where plugins call each other, {host}, has no address now") from error
    return authority(str(found[0][4][0]), int(port))


def authority(address: str, port: int) -> str:
    """Give HOST:PORT as a URL has it (RFC 3986 section 3.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
