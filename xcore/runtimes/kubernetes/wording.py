"""What is wished for a plugin, and what is written for it: objects worded so that no pod is replaced without a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from xcore.runtimes.kubernetes.client import Object
from xcore.runtimes.kubernetes.found import as_it_is, calls_of, revision_of
from xcore.runtimes.kubernetes.kept import Kept
from xcore.runtimes.kubernetes.numbers import Numbers
from xcore.runtimes.kubernetes.objects import Surroundings, Wish, wanted
from xcore.runtimes.kubernetes.state import State
from xcore.runtimes.told import may_call

# (plugin, namespace, revision) → the template of the pods of that revision, while the cluster keeps it.
TemplateOf = Callable[[str, str, str], Awaitable[Object | None]]


async def wished(kept: Kept, state: State, deployment: Object | None, numbers: Numbers) -> Wish:
    """Give what is wanted of a plugin now; raises RuntimeUnavailable where it is not known yet where its pods call."""
    workload = kept.workload
    replicas = 0 if kept.suspended or state.restarts.held else workload.manifest.spec.replicas
    instead = state.served if state.broken[0] == workload.revision else ""
    told = calls_of(deployment) if deployment is not None else ""
    if not may_call(workload):
        told = ""
    elif replicas and not instead:
        told = await numbers.now(told)
    return Wish(workload, replicas, instead, told)


async def worded(
    wish: Wish, surroundings: Surroundings, deployment: Object | None, template_of: TemplateOf
) -> list[Object]:
    """Give the objects in the order they are to be made; raises InvalidBundle. `deployment`: the one that is there."""
    workload = wish.workload
    found = await asyncio.to_thread(wanted, wish, surroundings)
    made = next(item for item in found if item["kind"] == "Deployment")
    if wish.instead:
        older = await template_of(workload.name, made["metadata"]["namespace"], wish.instead)
        made["spec"]["template"] = older or made["spec"]["template"]
    elif deployment is not None and _says(deployment) == (workload.revision, wish.calls):
        # Nothing is restarted only because a newer controller would word it otherwise; but for calls that would go nowhere.
        made["spec"]["template"] = as_it_is(deployment)
    return found


def _says(deployment: Object) -> tuple[str, str]:
    return revision_of(deployment), calls_of(deployment)
