"""Plugins that call plugins: a request like any other, from an instance's own socket instead of a client's.

Who calls is known by the socket and proved by its token. What the other plugin is told of it (`Xcore-Caller`) only we can say,
for fields that begin so are dropped from whatever is sent here. A call has what is left of the request it belongs to,
carries its id on, and ends with it at the latest.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.config import Config
from uvicorn.server import ServerState

from controller.dataplane import headers as rules
from controller.dataplane.admission import admit
from controller.dataplane.chains import permit
from controller.dataplane.exchange import Exchange
from controller.dataplane.protocol import DataPlaneProtocol
from controller.dataplane.request import Refusal, Request
from controller.dataplane.way import Policy
from xcore.plugin.calling import CALL_HEADER, CALLER_HEADER
from xcore.runtimes.callsockets import Answer, Caller

if TYPE_CHECKING:
    from controller.dataplane.plane import DataPlane

MAX_CALLS = 32


def answers(plane: DataPlane) -> Answer:
    """Tell how connections of instances are answered."""
    config = Config(_nothing_else, lifespan="off", log_config=None, ws="none", proxy_headers=False)
    config.load()
    state = ServerState()
    return lambda caller, gone: CallProtocol(plane, config, state, caller, gone)


class CallProtocol(DataPlaneProtocol):
    """One connection of an instance."""

    def __init__(
        self, plane: DataPlane, config: Config, state: ServerState, caller: Caller, gone: Callable[[], None]
    ) -> None:
        super().__init__(plane, config, state, {})
        self._caller, self._gone = caller, gone
        self._belongs = b""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone()

    def on_message_begin(self) -> None:
        self._belongs = b""
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if name.lower() == CALL_HEADER:
            self._belongs = value

    def _exchange_of(self, request: Request) -> Exchange:
        return CallExchange(self._plane, self, request, self._caller, self._belongs)

    def _is_deferred(self, request: Request) -> bool:  # noqa: ARG002  its signature
        return False  # a call ends with the request it belongs to

    def _to_asgi(self, request: Request, headers: rules.Headers) -> None:  # noqa: ARG002  its signature
        raise Refusal("NotFound", "plugins are called below /app/, and nothing else is served here")


class CallExchange(Exchange):
    """One call. `belongs`: what it names of the requests that its caller serves."""

    __slots__ = ("_belongs", "_caller", "callers")

    def __init__(
        self, plane: DataPlane, client: CallProtocol, request: Request, caller: Caller, belongs: bytes
    ) -> None:
        super().__init__(plane, client, request)
        self._caller, self._belongs = caller, belongs

    def begin(self) -> None:
        self._caller.busy += 1
        super().begin()

    def _judge(self) -> Policy:
        request, caller, plane = self.request, self._caller, self._plane
        token = caller.token.encode()
        if not token or not hmac.compare_digest(request.key or b"", token):
            raise Refusal(
                "Unauthenticated", "a call needs the token of this instance, which lies beside the socket"
            )
        if request.handshake is not None:
            raise Refusal("Forbidden", "a call is no WebSocket")
        outer = plane.chains.find(caller.instance, self._belongs)
        self.callers: tuple[str, ...] = plane.chains.callers(caller, outer)
        permit(plane, self.callers, request.plugin)
        if caller.busy > MAX_CALLS:
            raise Refusal("QueueFull", f"{caller.plugin} has {MAX_CALLS} calls under way", retry_after=1)
        if outer is not None:
            request.request_id = outer.request.request_id
        policy = admit(request, self._way, None, "")
        if policy.scopes:
            raise Refusal(
                "Forbidden", f"{request.action} is for keys with its scopes, and a plugin has no key"
            )
        left = outer.left if outer is not None else policy.total
        return policy.no_longer(left, b"%b: %b\r\n" % (CALLER_HEADER, caller.plugin.encode()))

    def _close(self) -> None:
        self._caller.busy -= 1
        super()._close()


async def _nothing_else(scope: object, receive: object, send: object) -> None:
    """Stand where uvicorn wants an application: whatever is not a call is refused before."""
