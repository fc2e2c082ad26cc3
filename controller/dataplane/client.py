"""Who asks: a connection of uvicorn's, or the controller itself."""

from __future__ import annotations

from typing import Protocol

from controller.dataplane.proxies import Sender


class Client(Protocol):
    """What an exchange needs of whoever sent its request. Nothing here waits or raises."""

    @property
    def write_paused(self) -> bool:
        """Whether it has enough to read for now."""
        ...

    @property
    def sender(self) -> Sender:
        """Whom the request is from that is under way."""
        ...

    def write(self, data: bytes) -> None: ...

    def date_lines(self) -> bytes: ...

    def invite(self) -> None:
        """Ask for the body that it waits to send."""

    def pause_request(self) -> None:
        """Send no more of the body for now."""

    def resume_request(self) -> None: ...

    def cut(self) -> None:
        """End so that it can tell the answer is not whole."""

    def exchange_done(self, *, keep_alive: bool) -> None: ...
