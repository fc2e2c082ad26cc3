"""One call of an old plugin's action: its payload read, limits kept, whatever it does answered in the form asked for."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from xcore.plugin.asgi import JSON, Answer, Receive, Scope, header, problem, read_body
from xcore.plugin.contained import Contained, PluginFailed
from xcore.plugin.host import Legacy, RateLimit
from xcore.plugin.legacy.envelope import V0, BadPayload, asks_for_v0, in_old_form, payload
from xcore.plugin.results import BadResult

Do = Callable[[str, dict[str, Any]], Awaitable[Answer]]
_log = logging.getLogger("xcore.plugin")


class Calls:
    """`do(action, payload)` runs the plugin's code and gives its answer in today's form; may raise BadPayload, BadResult."""

    def __init__(
        self, plugin: str, told: Legacy, do: Do, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plugin, self._told, self._do = plugin, told, do
        self._bucket = None if told.rate_limit is None else Bucket(told.rate_limit, clock)

    async def answer(self, action: str, scope: Scope, receive: Receive) -> Answer:
        """Give the answer, whatever the plugin does. Raises ClientGone."""
        asked = asks_for_v0(b",".join(value for name, value in scope["headers"] if name == b"accept"))
        v0 = asked or self._told.envelope == "V0"
        answer = await self._answer(action, scope, await read_body(receive), v0=v0)
        if not v0:
            return answer
        return in_old_form(answer, plugin=self._plugin, action=action, media=V0 if asked else JSON)

    async def _answer(self, action: str, scope: Scope, body: bytes, *, v0: bool) -> Answer:
        request_id = header(scope, b"x-request-id").decode("latin-1")
        try:
            given = payload(body, v0=v0)
            wait = 0 if self._bucket is None else self._bucket.take()
            return _too_many(wait, request_id) if wait else await self._in_time(action, given)
        except BadPayload as bad:
            return problem(bad.status, bad.reason, bad.detail, requestId=request_id)
        except TimeoutError:
            detail = f"the action {action} did not end within {self._told.timeout_seconds:g} s"
        except BadResult as error:
            detail = f"the action {action} {error}"
        except PluginFailed as error:
            _log.error("action %s failed", action, exc_info=error.__cause__, extra={"requestId": request_id})
            detail = f"the action {action} raised an exception; its traceback is in the plugin's logs"
            return problem(500, "ActionFailed", detail, requestId=request_id)
        _log.error("%s", detail, extra={"requestId": request_id})
        return problem(500, "ActionFailed", detail, requestId=request_id)

    async def _in_time(self, action: str, given: dict[str, Any]) -> Answer:
        # A TimeoutError of the plugin's own is a failure like any other: only ours gets out of here.
        async with asyncio.timeout(self._told.timeout_seconds):
            with Contained(BadPayload, BadResult):
                return await self._do(action, given)


class Bucket:
    """A token bucket: so many calls at once, and as many again spread over the period."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        self._most, self._rate, self._clock = limit.calls, limit.calls / limit.period_seconds, clock
        self._left, self._since = float(limit.calls), clock()

    def take(self) -> int:
        """Take one; 0, or after how many seconds there is one again."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left >= 1:
            self._left -= 1
            return 0
        return max(1, math.ceil((1 - self._left) / self._rate))


def _too_many(wait: int, request_id: str) -> Answer:
    detail = "the plugin takes no more calls for now: its spec.legacy.rateLimit is reached"
    answer = problem(429, "RateLimited", detail, requestId=request_id)
    answer.headers.append((b"retry-after", b"%d" % wait))
    return answer
