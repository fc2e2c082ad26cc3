"""A connection that became a WebSocket. Loaded for ASGI applications only: plain plugins have none, and do not pay."""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sandbox_image.server import tell_gone

MAX_MESSAGE = 2**20
PING_SECONDS = 20.0
PONG_SECONDS = 20.0
LIMITS: dict[str, Any] = {
    "ws_max_size": MAX_MESSAGE,
    "ws_ping_interval": PING_SECONDS,
    "ws_ping_timeout": PONG_SECONDS,
    # A hop inside one machine; and a small frame could become a large message.
    "ws_per_message_deflate": False,
}
_log = logging.getLogger("xcore.websocket")
_log.setLevel(logging.WARNING)  # it tells of every connection


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Tells an application that still runs some time after the connection was lost."""

    def __init__(self, *told: Any, **more: Any) -> None:
        super().__init__(*told, **more)
        self.logger = _log

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is None:
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """Say why, and read on to nowhere: closed at once, what is still unread would take the reason with it."""
        if not self.transport.can_write_eof():
            super().handle_parser_exception()
            return
        close = self.conn.close_sent
        assert close is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if hasattr(self, "scope"):
            tell_gone(self.scope)
