"""A uid for each sandbox that nobody else has: some kernel limits count per uid."""

from __future__ import annotations

import secrets
from collections.abc import Container, Sequence

from xcore.errors import WorkloadRejected

UIDS = range(100_000, 165_536)
UIDS_REMAPPED = range(10_000, 60_000)  # under userns-remap or rootless, higher ones do not exist


def pick(uids: Sequence[int], taken: Container[int | None]) -> int:
    """Give a free one, from a random start: two controllers seldom try the same. Raises WorkloadRejected."""
    start = secrets.randbelow(len(uids))
    for offset in range(len(uids)):
        uid = uids[(start + offset) % len(uids)]
        if uid not in taken:
            return uid
    raise WorkloadRejected("every uid for sandboxes is taken")
