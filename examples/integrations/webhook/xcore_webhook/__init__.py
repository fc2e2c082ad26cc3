"""Tells a URL when a plugin becomes ready, or is no longer: one POST for each change, as JSON."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from pydantic import BaseModel, HttpUrl

from integrations.host import Host
from xcore.xhooks import StatusChanged, Subscription

log = logging.getLogger("webhook")


class Settings(BaseModel, extra="forbid", hide_input_in_errors=True):
    url: HttpUrl
    timeout_seconds: float = 5.0


class Webhook:
    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self.client, self.url = client, url
        self.sent = self.failed = 0

    async def listen(self, changes: Subscription[StatusChanged]) -> None:
        async for change in changes:
            before, after = ready(change.before), ready(change.after)
            if before["status"] != after["status"]:
                await self.tell({"plugin": change.plugin, "at": change.at, **after})

    async def tell(self, body: Mapping[str, Any]) -> None:
        try:
            (await self.client.post(self.url, json=body)).raise_for_status()
            self.sent += 1
        except httpx.HTTPError as error:  # not caught, it would be the end of listening
            self.failed += 1
            log.warning("%s could not be told: %s", body, error)


def ready(status: Mapping[str, Any] | None) -> Mapping[str, str]:
    conditions = status["conditions"] if status is not None else ()
    found = {c["type"]: {"status": c["status"], "reason": c["reason"]} for c in conditions}
    return found.get("Ready", {"status": "Unknown", "reason": ""})


@asynccontextmanager
async def integration(host: Host) -> AsyncIterator[None]:
    settings = Settings.model_validate(host.settings)  # what it raises refuses the controller's start

    async with httpx.AsyncClient(timeout=settings.timeout_seconds) as client, asyncio.TaskGroup() as group:
        webhook = Webhook(client, str(settings.url))

        @host.router.get("")
        async def counts() -> dict[str, int]:
            """How many changes were told, and how many could not be."""
            return {"sent": webhook.sent, "failed": webhook.failed}

        with host.subscribe(StatusChanged) as changes:
            listening = group.create_task(webhook.listen(changes))
            yield  # the controller runs
            listening.cancel()
