"""An open WebSocket: two connections joined, frames passing both ways, and an end in order whatever happens.

Whoever closes, pings or chooses a code does so to the other end; nothing is answered here. Only when the platform has
to end it (a deadline, a drain, a broken rule, an end that is gone) is a Close of ours put between two frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controller.dataplane.frames import GOING_AWAY, INTERNAL_ERROR, Frames, close_frame

# The largest message of a plugin; a client's is bounded by `maxBodyBytes` of the action.
MAX_MESSAGE = 16 * 2**20
# How long the ends have to hang up once one of them began to close, and once we did.
CLOSING_SECONDS, CLOSE_SECONDS = 10.0, 2.0


class Leg(asyncio.Protocol):
    """One of the two connections. `owner` still hears of its pauses and of its end; what arrives goes across."""

    other: Leg

    def __init__(
        self, tunnel: Tunnel, owner: asyncio.Protocol, transport: asyncio.Transport, *, frames: Frames
    ) -> None:
        self._tunnel, self._owner, self.transport, self.frames = tunnel, owner, transport, frames
        self.told = self.lost = False  # told: its end has been sent a Close, by the other end or by us
        self._goodbye = b""

    def data_received(self, data: bytes) -> None:
        self._tunnel.moved()
        passing, other = self.frames.feed(data), self.other
        if passing and not (other.told or other.lost):
            other.transport.write(passing)
        other.say_goodbye()
        if self.frames.closed:
            other.told = True
        if self.frames.closed or self.frames.fault is not None:
            self._tunnel.ending(self)

    def tell(self, code: int, why: str, *, masked: bool) -> bool:
        """Send a Close as soon as the frame under way is whole; False when it never will be."""
        if not (self.told or self.lost or self._goodbye):
            self._goodbye = close_frame(code, why, masked=masked)
            self.other.frames.stop = True
            self.say_goodbye()
        return self.told or not self.other.lost

    def say_goodbye(self) -> None:
        frames = self.other.frames
        if self._goodbye and frames.between:
            if not self.lost:
                self.transport.write(self._goodbye)
            self._goodbye, self.told = b"", True
            frames.stop = False
            frames.feed(b"")  # what was held back does not pass, but an end's own Close may be in it

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._tunnel.moved()
        self._owner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._tunnel.gone(self)
        self._owner.connection_lost(exc)


class Tunnel:
    """`closing`: an end has begun, and has its time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cut_at = float("inf")
        self.last = clock()
        self.client: Leg
        self.plugin: Leg

    def join(
        self,
        client: tuple[asyncio.Protocol, asyncio.Transport],
        plugin: tuple[asyncio.Protocol, asyncio.Transport],
        *,
        limit: int,
    ) -> None:
        """Take over both connections. `limit`: bytes in a message of the client's."""
        self.client = Leg(self, *client, frames=Frames(masked=True, limit=limit))
        self.plugin = Leg(self, *plugin, frames=Frames(masked=False, limit=MAX_MESSAGE))
        self.client.other, self.plugin.other = self.plugin, self.client
        for leg in (self.client, self.plugin):
            leg.transport.set_protocol(leg)

    @property
    def closing(self) -> bool:
        return self._cut_at != float("inf")

    @property
    def over(self) -> bool:
        return self.client.lost and self.plugin.lost

    def moved(self) -> None:
        self.last = self._clock()

    def close(self, code: int, why: str) -> None:
        """End it: both ends are told."""
        self.client.tell(code, why, masked=False)
        self.plugin.tell(code, why, masked=True)
        self._begin_end(CLOSE_SECONDS)

    def ending(self, leg: Leg) -> None:
        """An end has closed, or broken a rule."""
        fault = leg.frames.fault
        if fault is not None and leg is self.client:
            self.client.tell(*fault, masked=False)
            self.plugin.tell(GOING_AWAY, "the client broke a rule of the protocol", masked=True)
        elif fault is not None:
            self.plugin.tell(*fault, masked=True)
            self.client.tell(INTERNAL_ERROR, f"the plugin broke a rule: {fault.why}", masked=False)
        self._begin_end(CLOSING_SECONDS if fault is None else CLOSE_SECONDS)
        if fault is not None and leg is self.client and leg.told:
            leg.transport.write_eof()  # its own Close would not be believed: it is to hang up

    def gone(self, leg: Leg) -> None:
        """An end has hung up."""
        self._begin_end(CLOSE_SECONDS)
        other = leg.other
        if other.lost:
            return
        if leg is self.client:
            other.transport.close() if other.told else other.transport.abort()
        elif not other.tell(INTERNAL_ERROR, "the plugin ended without a Close", masked=False):
            other.transport.abort()  # in the middle of a frame nothing can be told

    def _begin_end(self, seconds: float) -> None:
        self._cut_at = min(self._cut_at, self._clock() + seconds)
        for leg in (self.client, self.plugin):
            if leg.told and leg.frames.closed and not leg.lost:
                leg.transport.close()

    def tick(self, now: float) -> None:
        """Cut what should have ended."""
        if self._cut_at <= now:
            for leg in (self.client, self.plugin):
                if not leg.lost:
                    leg.transport.abort()
