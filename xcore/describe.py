"""Asking a runner what actions its plugin has: bounded, and believed only as far as names and schemas go."""

from __future__ import annotations

import json
from typing import Any

from xcore.endpoint import Endpoint
from xcore.errors import UpstreamInvalid

MAX_ACTIONS = 256
SECONDS = 5.0


async def describe(endpoint: Endpoint, limit: int) -> list[Any]:
    """Give the names of its actions; raises UpstreamError."""
    status, body = await endpoint.get("/describe", seconds=SECONDS, limit=limit)
    try:
        actions = json.loads(body)["actions"]
        names = [action["name"] for action in actions[:MAX_ACTIONS] if isinstance(action["name"], str)]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UpstreamInvalid(f"its description (status {status}) is not what a runner gives") from None
    return [name[:63] for name in names]
