"""A request for a WebSocket: a request like any other up to the plugin's 101, a tunnel from then on.

It keeps its place at the plugin and counts as a request under way until both connections have ended, so limits,
drains and deadlines hold for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from controller.dataplane.exchange import Exchange
from controller.dataplane.frames import GOING_AWAY
from controller.dataplane.handshake import BadAgreement, Offer, check_origin
from controller.dataplane.request import Refusal
from controller.dataplane.tunnel import CLOSE_SECONDS, Tunnel

if TYPE_CHECKING:
    from controller.dataplane.protocol import DataPlaneProtocol

# How long they go on when the controller is to end: it gives requests 25 s.
LEAVE_SECONDS = 20.0


class WebSocketExchange(Exchange):
    """`begin`; then it is refused, answered by the plugin without an upgrade, or upgraded."""

    __slots__ = ("_declined", "_leaving", "_offer", "_tunnel")

    def begin(self) -> None:
        request = self.request
        self._tunnel: Tunnel | None = None
        self._declined = self._leaving = False
        request.keep_alive = False  # whatever the answer: what may follow it would be in doubt
        try:
            check_origin(request, self._plane.origins)
            self._offer = Offer(request)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        request.key = request.key or self._offer.key
        request.add(self._offer.lines())
        super().begin()

    # -- the plugin's answer ------------------------------------------------------------------------------------

    def head_received(self, status: int, lines: list[bytes], length: int | None, *, bodiless: bool) -> None:
        """Pass on an answer that is no upgrade. An empty 403 is how ASGI servers say that nobody accepted."""
        self._declined = status == 403 and length == 0
        if not self._declined:
            super().head_received(status, lines, length, bodiless=bodiless)

    def answered(self) -> None:
        if self._declined:
            self._upstream = None
            detail = f"{self.request.plugin} accepts no WebSocket here; actions are called with POST or GET"
            self.fail("Forbidden", detail)
        else:
            super().answered()

    def upgraded(self, lines: list[bytes], special: dict[bytes, bytes], rest: bytes) -> None:
        upstream = self._upstream
        assert upstream is not None
        client = cast("DataPlaneProtocol", self._client)  # nobody else shakes hands
        try:
            agreed = self._offer.agreed(special)
        except BadAgreement as bad:
            self.fail("UpstreamInvalid", f"the plugin's answer to the handshake is not valid: {bad}")
            return
        if client.is_ahead:
            self.fail("MalformedRequest", "a WebSocket's frames are sent after the handshake is answered")
            return
        self.answer.switch([*agreed, *lines])
        tunnel = self._tunnel = Tunnel(self._plane.clock)
        tunnel.join((client, client.transport), (upstream, upstream.transport), limit=self._policy.max_body)
        client.resume_request()
        if rest:
            tunnel.plugin.data_received(rest)

    # -- the tunnel ---------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        tunnel = self._tunnel
        if tunnel is None:
            super().tick(now)
        elif tunnel.closing:
            tunnel.tick(now)
        else:
            self._leave_in_time(now)
            if self._deadline <= now:
                why = "leaving" if self._leaving else f"maxDurationSeconds: {self._policy.total:g}"
                tunnel.close(GOING_AWAY, why)
            elif now - tunnel.last > self._policy.idle:
                tunnel.close(GOING_AWAY, f"idleSeconds: {self._policy.idle:g}")

    def _leave_in_time(self, now: float) -> None:
        """The controller or the instance is to end: be closed before it does."""
        grace = self._target.grace if self._target is not None else None
        if self._plane.draining:
            grace = LEAVE_SECONDS if grace is None else min(grace, LEAVE_SECONDS)
        if grace is not None and not self._leaving:
            self._leaving = True
            self._deadline = min(self._deadline, now + max(0.0, grace - CLOSE_SECONDS))

    def upstream_full(self) -> None:
        self._client.pause_request()

    def upstream_lost(self) -> None:
        if self._tunnel is None:
            super().upstream_lost()
        else:
            self._upstream = None
            self._ended()

    def abort(self) -> None:
        if self._tunnel is None:
            super().abort()
        else:
            self._ended()

    def _ended(self) -> None:
        """One of the connections has."""
        assert self._tunnel is not None
        if self._tunnel.over and not self.done:
            self._close()

    def _refuse(self, refusal: Refusal) -> None:
        if self._tunnel is None:
            super()._refuse(refusal)
        else:
            self._tunnel.close(GOING_AWAY, refusal.detail)
