"""An answer on its way to the client: a head of our making, a body framed anew, one write for what came at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from controller.api.problems import problem_body

if TYPE_CHECKING:
    from controller.dataplane.client import Client
    from controller.dataplane.request import Refusal, Request


class Answer:
    """`begun`: something has left, so nothing else can be told to the client but by cutting its connection."""

    __slots__ = ("_aged", "_bodied", "_chunked", "_client", "_out", "_request", "begun", "status")

    def __init__(self, client: Client, request: Request) -> None:
        self._client, self._request = client, request
        self._out: list[bytes] = []
        self._chunked = self._bodied = self._aged = self.begun = False
        self.status = 0

    def head(self, status: int, lines: list[bytes], length: int | None, *, bodiless: bool) -> None:
        """Begin with the plugin's status and fields. `bodiless`: no body follows, whatever the length says."""
        request = self._request
        self.status = status
        out = self._out
        out.append(STATUS_LINE[status])
        out += lines
        if length is not None:
            if status not in {204, 304}:
                out.append(b"content-length: %d\r\n" % length)
        elif not bodiless:
            if request.http10:
                request.keep_alive = False
            else:
                self._chunked = True
                out.append(b"transfer-encoding: chunked\r\n")
        out.append(self._ours())

    def switch(self, lines: list[bytes]) -> None:
        """Agree to a WebSocket: the last that is HTTP on this connection."""
        self.status, self.begun = 101, True
        end = b"x-request-id: %b\r\n%b\r\n" % (self._request.request_id, self._client.date_lines())
        self._client.write(b"".join([STATUS_LINE[101], *lines, end]))

    def _ours(self) -> bytes:
        """Give the last lines of a head."""
        request = self._request
        if not request.keep_alive:
            connection = b"connection: close\r\n"
        elif request.http10:
            connection = b"connection: keep-alive\r\n"
        else:
            connection = b""
        return b"x-content-type-options: nosniff\r\nx-request-id: %b\r\n%b%b\r\n" % (
            request.request_id,
            self._client.date_lines(),
            connection,
        )

    def body(self, chunk: bytes) -> None:
        self._bodied = True
        self._out.append(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)

    def end(self) -> None:
        if self._chunked:
            self._out.append(b"0\r\n\r\n")
        self.flush()

    def flush_body(self) -> bool:
        """Hand over what has gathered once some of the body is there.

        A head alone is kept for a moment: a plugin that dies right behind it can still be answered for.
        """
        return self._bodied and self.flush()

    def age(self) -> None:
        """A tick has passed: a head that waited through a whole one goes out by itself."""
        if self._out and not self.begun:
            if self._aged:
                self.flush()
            self._aged = True

    def flush(self) -> bool:
        """Hand what has gathered to the client; False when there is nothing."""
        out = self._out
        if not out:
            return False
        self.begun = True
        self._client.write(b"".join(out))
        out.clear()
        return True

    def problem(self, refusal: Refusal) -> None:
        """Answer with RFC 9457 instead; nothing may have begun."""
        request = self._request
        self._out.clear()
        self.status, body = problem_body(
            refusal.reason, refusal.detail, request_id=request.request_id.decode("ascii")
        )
        lines = [f"content-type: application/problem+json\r\nxcore-reason: {refusal.reason}\r\n"]
        if self.status == 401:
            lines.append("www-authenticate: Bearer\r\n")
        if self.status == 426:
            lines.append("upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n")
        if refusal.allow:
            lines.append(f"allow: {refusal.allow}\r\n")
        if refusal.retry_after is not None:
            lines.append(f"retry-after: {refusal.retry_after}\r\n")
        lines.append(f"content-length: {len(body)}\r\n")
        head = STATUS_LINE[self.status] + "".join(lines).encode("ascii") + self._ours()
        self.begun = True
        self._client.write(head if request.method == b"HEAD" else head + body)
