"""Requests of the controller's own to its plugins: the way of every request (limits, queues, deadlines, pools) without a socket.

Nobody shows a key here: who may cause such a request was judged when the schedule was accepted, or the call was.
"""

from __future__ import annotations

import asyncio

import httptools

from controller.dataplane.admission import admit
from controller.dataplane.exchange import Exchange
from controller.dataplane.plane import DataPlane
from controller.dataplane.proxies import Sender
from controller.dataplane.request import Request
from controller.dataplane.target import parse_target
from controller.dataplane.way import Policy
from integrations.tasks.calling import MAX_ANSWER, Sent, Told

HOST = b"xcore.internal"


class InnerCalls:
    """Sends what the controller wants to know."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def __call__(self, sent: Sent, seconds: float) -> Told:
        """Send it, and give the answer that comes within `seconds`; cancelled, the plugin sees its client go."""
        client = _Inward()
        exchange = _InnerExchange(self._plane, client, self._request(sent), seconds)
        exchange.begin()
        if sent.body:
            exchange.feed(sent.body)
        exchange.feed_end()
        try:
            return await client.told
        finally:
            exchange.abort()

    def _request(self, sent: Sent) -> Request:
        given = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.headers]
        length = [(b"content-length", b"%d" % len(sent.body))] if sent.body else []
        target = sent.target.encode("ascii")
        request = Request(sent.method.encode("ascii"), target, "1.1", [(b"host", HOST), *given, *length])
        found = parse_target(target)
        assert found is not None, "a path that was judged when it was accepted"
        request.plugin, request.action = found
        request.request_id = self._plane.new_request_id()
        return request


class _InnerExchange(Exchange):
    __slots__ = ("_seconds",)

    def __init__(self, plane: DataPlane, client: _Inward, request: Request, seconds: float) -> None:
        super().__init__(plane, client, request)
        self._seconds = seconds

    def _judge(self) -> Policy:
        return admit(self.request, self._way, None, "").within(self._seconds)


class _Inward:
    """Stands where a client's connection stands, and reads the answer."""

    write_paused = False
    sender = Sender()

    def __init__(self) -> None:
        self.told: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._fields: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._cut = False

    # -- what an exchange needs of its client -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def date_lines(self) -> bytes:
        return b""

    def invite(self) -> None:
        """The body comes by itself."""

    def pause_request(self) -> None:
        """The body is here, and bounded."""

    def resume_request(self) -> None: ...

    def cut(self) -> None:
        self._answer(Told(502, "UpstreamUnreachable", "", b""))

    def exchange_done(self, *, keep_alive: bool) -> None: ...

    # -- httptools ----------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.setdefault(name.lower(), value)

    def on_body(self, body: bytes) -> None:
        room = MAX_ANSWER - len(self._body)
        self._body += body[:room]
        self._cut = self._cut or len(body) > room

    def on_message_complete(self) -> None:
        reason = self._fields.get(b"xcore-reason", b"").decode("latin-1")
        media = self._fields.get(b"content-type", b"").decode("latin-1")
        self._answer(Told(self._parser.get_status_code(), reason, media, bytes(self._body), self._cut))

    def _answer(self, told: Told) -> None:
        if not self.told.done():
            self.told.set_result(told)
