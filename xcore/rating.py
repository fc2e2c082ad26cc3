"""How strongly a plugin is isolated, as one figure: 1, and 1 for each wall that is known to be in force. Pure.

What each wall means stands in docs/isolation.md. A plugin inside the controller's process has none, whatever else holds.
"""

from __future__ import annotations

from enum import StrEnum

from xcore.instance_spec import Egress
from xcore.manifest import Manifest


class Wall(StrEnum):
    PROCESS = "a process of its own"
    FILES = "a read-only root without the host's files"
    CALLS = "filtered system calls, no capabilities"
    CLOSED = "a closed network"
    PROVEN = "a network that was tried, and is closed"
    PINNED = "code named by its content"
    KERNEL = "a kernel of its own"


# What a runtime gives every plugin. On one machine images are pinned by their ids.
_GIVEN: dict[str, frozenset[Wall]] = {
    "process": frozenset({Wall.PROCESS}),
    "docker": frozenset({Wall.PROCESS, Wall.FILES, Wall.CALLS, Wall.PINNED}),
    "kubernetes": frozenset({Wall.PROCESS, Wall.FILES, Wall.CALLS}),
}
_KERNELS = ("gvisor", "runsc", "kata")
# What its author can do about a wall that is missing.
WAYS = {
    Wall.CLOSED: "spec.network.egress: Deny",
    Wall.PINNED: "an image named by its digest",
    Wall.KERNEL: "spec.runtimeClass: gvisor or kata",
}


def walls(runtime: str, manifest: Manifest, isolated: str) -> frozenset[Wall]:
    """Give the walls around a plugin; `isolated`: the status of NetworkIsolated. A runtime of no known name has none."""
    given = _GIVEN.get(runtime, frozenset())
    if not given:
        return given
    spec = manifest.spec
    found = set(given)
    if isolated != "False" and spec.network.egress is Egress.DENY:
        found.add(Wall.CLOSED)
    if isolated == "True":
        found.add(Wall.PROVEN)
    if spec.source.image is None or "@sha256:" in spec.source.image:
        found.add(Wall.PINNED)
    if (spec.runtime_class or "").startswith(_KERNELS):
        found.add(Wall.KERNEL)
    return frozenset(found)


def rating(found: frozenset[Wall]) -> int:
    """Give the figure, 1 to 8."""
    return 1 + len(found)
