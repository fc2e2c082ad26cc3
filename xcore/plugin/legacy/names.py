"""What a name of the old system is today. Pure."""

from __future__ import annotations

import re

MAX_LENGTH = 63


def label(name: str) -> str:
    """Lower case, hyphens for whatever is neither letter nor digit; empty where nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MAX_LENGTH].rstrip("-")
