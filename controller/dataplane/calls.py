"""Plugins that call plugins: a request like any other, from an instance instead of a client.

An instance on this machine is known by the socket it calls at, and proves it with its token; a pod is known by its token and
its address, and finding that out may take a moment. What the other plugin is told of it (`Xcore-Caller`) only we can say,
for fields that begin so are dropped from whatever is sent here. A call has what is left of the request it belongs to,
carries its id on, and ends with it at the latest.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from uvicorn.config import Config
from uvicorn.server import ServerState

from controller.dataplane import headers as rules
from controller.dataplane.admission import admit, too_large
from controller.dataplane.callport import CallPort
from controller.dataplane.chains import permit
from controller.dataplane.exchange import Exchange
from controller.dataplane.flow import NEVER
from controller.dataplane.protocol import DataPlaneProtocol
from controller.dataplane.request import Refusal, Request
from controller.dataplane.way import Policy
from xcore.errors import XcoreError
from xcore.plugin.calling import CALL_HEADER, CALLER_HEADER
from xcore.runtimes.callsockets import Answer, Caller, Identify

if TYPE_CHECKING:
    from controller.dataplane.plane import DataPlane

MAX_CALLS = 32
IDENTIFY_SECONDS = 8.0
# Until it is known who calls what; no deadline of a plugin's. Of a body no more is read meanwhile than `Request.keep` takes.
_UNKNOWN = Policy(
    public=False,
    scopes=frozenset(),
    methods=frozenset(),
    first_byte=NEVER,
    idle=NEVER,
    total=NEVER,
    max_body=1 << 62,
    lines=b"",
)


def answers(plane: DataPlane) -> Answer:
    """Tell how connections of instances are answered, each of which has a socket of its own."""
    config, state = _uvicorn(), ServerState()
    return lambda caller, gone: CallProtocol(plane, config, state, _by_token_of(caller), gone)


def port_answers(plane: DataPlane, port: CallPort) -> Callable[[], asyncio.Protocol]:
    """Tell how connections are answered at a port that all instances share."""
    config, state = _uvicorn(), ServerState()
    return lambda: PortProtocol(plane, config, state, port)


def _uvicorn() -> Config:
    config = Config(_nothing_else, lifespan="off", log_config=None, ws="none", proxy_headers=False)
    config.load()
    return config


def _by_token_of(caller: Caller) -> Identify:
    def identify(token: bytes, _address: str) -> Caller | None:
        good = caller.token.encode()
        return caller if good and hmac.compare_digest(token, good) else None

    return identify


class CallProtocol(DataPlaneProtocol):
    """One connection of an instance."""

    def __init__(
        self,
        plane: DataPlane,
        config: Config,
        state: ServerState,
        identify: Identify,
        gone: Callable[[], None],
    ) -> None:
        super().__init__(plane, config, state, {})
        self._identify, self._gone = identify, gone
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
        return CallExchange(self._plane, self, request, self._identify, self._belongs)

    def _is_proxy(self) -> bool:
        return False  # wherever an instance calls from, it speaks for itself

    def _is_deferred(self, request: Request) -> bool:  # noqa: ARG002  its signature
        return False  # a call ends with the request it belongs to

    def _to_asgi(self, request: Request, headers: rules.Headers) -> None:  # noqa: ARG002  its signature
        raise Refusal("NotFound", "plugins are called below /app/, and nothing else is served here")


class PortProtocol(CallProtocol):
    """One connection at a shared port, if there is still room for it."""

    def __init__(self, plane: DataPlane, config: Config, state: ServerState, port: CallPort) -> None:
        super().__init__(plane, config, state, port.identify, lambda: port.leave(self.transport))
        self._port = port

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._port.enter(transport, self.sender.address):
            transport.abort()


class CallExchange(Exchange):
    """One call. `belongs`: what it names of the requests that its caller serves."""

    __slots__ = ("_belongs", "_caller", "_finding", "_identify", "callers")

    def __init__(
        self, plane: DataPlane, client: CallProtocol, request: Request, identify: Identify, belongs: bytes
    ) -> None:
        super().__init__(plane, client, request)
        self._identify, self._belongs = identify, belongs
        self._caller: Caller | None = None
        self._finding: asyncio.Task[None] | None = None

    def begin(self) -> None:
        who = self._identify(self.request.key or b"", self._client.sender.address)
        if who is None or isinstance(who, Caller):
            self._begin_as(who)
            return
        self._policy = _UNKNOWN
        self._plane.active.add(self)
        self._finding = asyncio.get_running_loop().create_task(self._find_out(who))

    async def _find_out(self, who: Awaitable[Caller | None]) -> None:
        try:
            async with asyncio.timeout(IDENTIFY_SECONDS):
                caller = await who
        except XcoreError as error:
            self.fail(error.reason, error.detail, retry_after=error.retry_after)
        except TimeoutError:
            self.fail("RuntimeUnavailable", "who calls cannot be found out in time", retry_after=1)
        except BaseException:
            self.fail("Internal", "an error of the controller; it is in its log")
            raise
        else:
            self._finding = None
            if not self.done:
                self._begin_as(caller)

    def _begin_as(self, caller: Caller | None) -> None:
        self._caller = caller
        if caller is not None:
            caller.busy += 1
        super().begin()

    def _judge(self) -> Policy:
        request, caller, plane = self.request, self._caller, self._plane
        if caller is None:
            raise Refusal(
                "Unauthenticated",
                "a call needs the token of the instance it comes from, a file in the directory PLUGIN_CALLS names",
            )
        if request.handshake is not None:
            raise Refusal("Forbidden", "a call is no WebSocket")
        outer = plane.chains.find(caller, self._belongs)
        self.callers: tuple[str, ...] = plane.chains.callers(caller, outer)
        permit(plane, self.callers, request.plugin)
        if caller.busy > MAX_CALLS:
            raise Refusal("QueueFull", f"{caller.plugin} has {MAX_CALLS} calls under way", retry_after=1)
        if outer is not None:
            request.request_id = outer.request.request_id
        policy = admit(request, self._way, None, "")
        if request.size > policy.max_body:  # of what came while it was found out who calls
            raise too_large(policy)
        if policy.scopes:
            raise Refusal(
                "Forbidden", f"{request.action} is for keys with its scopes, and a plugin has no key"
            )
        left = outer.left if outer is not None else policy.total
        return policy.no_longer(left, b"%b: %b\r\n" % (CALLER_HEADER, caller.plugin.encode()))

    def _close(self) -> None:
        if self._finding is not None:
            self._finding.cancel()
        if self._caller is not None:
            self._caller.busy -= 1
        super()._close()


async def _nothing_else(scope: object, receive: object, send: object) -> None:
    """Stand where uvicorn wants an application: whatever is not a call is refused before."""
