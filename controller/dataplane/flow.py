"""What moves between a client and a plugin, when something last did, and how long it may go on: back-pressure both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.dataplane.answer import Answer

if TYPE_CHECKING:
    from controller.dataplane.client import Client
    from controller.dataplane.connection import Connection
    from controller.dataplane.plane import DataPlane
    from controller.dataplane.request import Request
    from controller.dataplane.way import Policy

NEVER = float("inf")


class Flow:
    """A request and its answer. `callers`: the plugins it comes through, the first of them first."""

    callers: tuple[str, ...] = ()
    __slots__ = ("_client", "_deadline", "_last", "_plane", "_policy", "_upstream", "answer", "request")

    def __init__(self, plane: DataPlane, client: Client, request: Request) -> None:
        self._plane, self._client, self.request = plane, client, request
        self.answer = Answer(client, request)
        self._last = plane.clock()
        self._deadline = NEVER
        self._upstream: Connection | None = None
        self._policy: Policy

    @property
    def left(self) -> float:
        """Seconds within which its client has to have an answer; once that has begun, the rest of it."""
        waiting = self.request.complete and not self.answer.begun
        until = self._last + self._policy.first_byte if waiting else NEVER
        return min(self._deadline, until) - self._plane.clock()

    def upstream_full(self) -> None:
        if not self.request.complete:
            self._client.pause_request()

    def upstream_writable(self) -> None:
        self._last = self._plane.clock()
        self._client.resume_request()

    def client_full(self) -> None:
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def client_writable(self) -> None:
        self._last = self._plane.clock()
        if self._upstream is not None:
            self._upstream.transport.resume_reading()
