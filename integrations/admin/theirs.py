"""Routes of integrations. Who may ask is judged, and orders are recorded, on the loop that serves; all the rest, from reading
what was sent to the last byte of the answer, is the integration's own code and runs on its thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute, request_response
from starlette.types import ASGIApp, Message

from integrations.admin.access import Demand
from integrations.admin.audited import Audited
from integrations.apart import Apart
from integrations.grants import Scope

ANSWER_SECONDS = 10.0
DEMANDED = Demand(Scope.INTEGRATIONS_USE)


def route_class(apart: Apart) -> type[APIRoute]:
    """Give the class of the routes that are answered there. An answer is whole when it is sent, so there are no streams."""

    class Theirs(Audited):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answering = request_response(super().get_route_handler())

            async def answer(request: Request) -> Response:
                await DEMANDED(request, None)
                return await apart.do(ANSWER_SECONDS, _answer, apart, answering, request)

            return answer

    return Theirs


async def _answer(apart: Apart, answering: ASGIApp, request: Request) -> Response:
    """Runs there."""
    messages: list[Message] = []

    async def receive() -> Message:
        return await apart.await_here(request.receive())  # type: ignore[arg-type]  # it is a coroutine

    async def hold(message: Message) -> None:
        messages.append(message)

    # What it notes with the request is its own.
    await answering({**request.scope, "state": {**request.scope["state"]}}, receive, hold)
    answer = Response(b"".join(message.get("body", b"") for message in messages), messages[0]["status"])
    answer.raw_headers = list(messages[0]["headers"])
    return answer
