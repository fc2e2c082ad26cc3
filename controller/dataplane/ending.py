"""How a client's connection ends: after its last answer has arrived, when it asks nothing or too slowly, when it does not read."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from controller.dataplane.plane import DataPlane

# How long a client may go on sending before a connection that is to end is cut under it.
LINGER_SECONDS = 2.0
# How long a new client has to begin, and each to send the whole head it has begun: many that never end would hold everything.
HEAD_SECONDS = 10.0
# How long an unread answer may hold a connection that is to end.
STALL_SECONDS = 30.0


class EndingProtocol(HttpToolsProtocol):
    """Uvicorn's protocol class with an orderly end."""

    def __init__(
        self,
        plane: DataPlane,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._plane = plane
        self._in_message = False  # the client is in the middle of a request, or sends what nobody will read
        self._ignoring = False  # what arrives now belongs to no request we serve
        self._in_head = False
        self._head_until = 0.0  # when the next head has to have begun, or this one to be whole
        self._end: asyncio.TimerHandle | None = None

    @abstractmethod
    def _busy(self) -> bool:
        """Whether a request is being answered."""

    @abstractmethod
    def _late(self) -> None:
        """The head of a request did not come in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_until = self._plane.clock() + HEAD_SECONDS
        self._watch_idleness(HEAD_SECONDS)

    def _head_begins(self) -> None:
        self._in_message = self._in_head = True
        self._head_until = self._plane.clock() + HEAD_SECONDS

    def connection_lost(self, exc: Exception | None) -> None:
        self._ignoring = True
        self._unset_keepalive_if_required()
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def _hang_up(self) -> None:
        """End the connection so that what was written arrives.

        Closing while the client still sends resets the connection, and the client may lose the answer: so end our
        half, and give the client a moment to end its own.
        """
        self._ignoring = True
        if self.transport.is_closing() or self._end is not None:
            return
        if self._in_message:
            self.transport.write_eof()
            self.flow.resume_reading()
            self._cut_later(STALL_SECONDS)
        else:
            self._close()

    def _close(self) -> None:
        self.transport.close()
        if self._end is None and self.transport.get_write_buffer_size():
            self._cut_later(STALL_SECONDS)

    def _cut_later(self, seconds: float) -> None:
        """Give the client `seconds` to read what was written, and a moment after that."""
        self._end = self.loop.call_later(LINGER_SECONDS, self._cut_or_wait, seconds - LINGER_SECONDS)

    def _cut_or_wait(self, seconds: float) -> None:
        if seconds > 0 and self.transport.get_write_buffer_size():
            self._cut_later(seconds)
        else:
            self.transport.abort()

    def cut(self) -> None:
        """End the connection so that the client can tell the answer is not whole."""
        self._ignoring = True
        self.transport.abort()

    def _rest(self) -> None:
        """Wait for the next request."""
        if self.flow.write_paused:
            self.flow.pause_reading()  # first the client reads what it has asked for
        else:
            self.flow.resume_reading()
        self._head_until = self._plane.clock() + self.timeout_keep_alive
        if self.timeout_keep_alive_task is None:
            self._watch_idleness(self.timeout_keep_alive)

    def _watch_idleness(self, seconds: float) -> None:
        # Never later than a connection may have become idle and been so for long enough.
        seconds = min(seconds, self.timeout_keep_alive)
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close if idle, or too slow. One timer serves many requests: it looks until when there is time, and waits the rest."""
        self.timeout_keep_alive_task = None
        if self._busy() or self._ignoring or (self._in_message and not self._in_head):
            return
        left = self._head_until - self._plane.clock()
        if left > 0:
            self._watch_idleness(left)
        elif self._in_head:
            self._late()
        else:
            self._close()
