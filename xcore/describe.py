"""Asking a runner what actions its plugin has: bounded, and believed only as far as names and schemas go."""

from __future__ import annotations

import json
import re

from xcore.endpoint import Endpoint
from xcore.errors import UpstreamInvalid
from xcore.fields import ACTION

MAX_ACTIONS = 256
SECONDS = 5.0
_NAME = re.compile(ACTION)


async def describe(endpoint: Endpoint, limit: int) -> list[str]:
    """Give the names of its actions; raises UpstreamError."""
    status, body = await endpoint.get("/describe", seconds=SECONDS, limit=limit)
    try:
        actions = json.loads(body)["actions"]
        names = [action["name"] for action in actions[:MAX_ACTIONS]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UpstreamInvalid(f"its description (status {status}) is not what a runner gives") from None
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]
