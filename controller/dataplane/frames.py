"""WebSocket frames as they pass by: never unmasked, gathered or changed, only counted and held against RFC 6455.

What is passed on always ends between two frames or inside one whose head was good, so a Close of ours can follow.
"""

from __future__ import annotations

from typing import NamedTuple

GOING_AWAY, PROTOCOL_ERROR, TOO_BIG, INTERNAL_ERROR = 1001, 1002, 1009, 1011
MAX_CONTROL = 125
_CONTINUATION, _CLOSE, _OPCODES = 0x0, 0x8, frozenset({0x0, 0x1, 0x2, 0x8, 0x9, 0xA})
_NO_MASK = b"\0\0\0\0"


class Fault(NamedTuple):
    """What breaks the rules, as the Close says it."""

    code: int
    why: str


class Frames:
    """One direction. `closed`: its Close has passed. `fault`: it broke a rule; nothing passes any more.

    While `stop` is set nothing passes beyond the frame under way.
    """

    __slots__ = ("_closing", "_held", "_left", "_limit", "_masked", "_message", "closed", "fault", "stop")

    def __init__(self, *, masked: bool, limit: int) -> None:
        """`masked`: they come from a client. `limit`: bytes in a message."""
        self._masked, self._limit = masked, limit
        self._held = b""  # of a head that is not whole, or what came behind a stop
        self._left = 0  # bytes of the frame under way that are still to come
        self._message = -1  # bytes of the message under way; -1 between two
        self.closed = self._closing = self.stop = False
        self.fault: Fault | None = None

    @property
    def between(self) -> bool:
        """Whether all that has passed is whole frames."""
        return not self._left

    def feed(self, data: bytes) -> bytes:
        """Give what of it may pass."""
        if self._left > len(data):
            self._left -= len(data)
            return data
        if self._held:
            data, self._held = self._held + data, b""
        at, end = self._left, len(data)
        self._left = 0
        self.closed = self._closing
        while at < end and not self.closed and self.fault is None:
            size = 0 if self.stop else self._open(data, at)
            if not size:
                self._held = data[at:]
                break
            at += size
            if at > end:
                self._left, at = at - end, end
            else:
                self.closed = self._closing
        return data if at == end else data[:at]

    def _open(self, data: bytes, at: int) -> int:
        """Give the size of the frame that begins there; 0 while its head is not whole, or when it is not allowed."""
        if len(data) - at < 2:
            return 0
        first, second = data[at], data[at + 1]
        size, head = second & 0x7F, 2
        if size >= 126:
            head = 4 if size == 126 else 10
            size = int.from_bytes(data[at + 2 : at + head], "big")
        if self._masked:
            head += 4
        if len(data) - at < head:
            return 0
        why = self._malformed(first, second, size)
        if why:
            self.fault = Fault(PROTOCOL_ERROR, why)
            return 0
        if not first & 0x08 and not self._count(first, size):
            self.fault = Fault(TOO_BIG, f"a message has {self._limit} bytes at most")
            return 0
        self._closing = first & 0x0F == _CLOSE
        return head + size

    def _malformed(self, first: int, second: int, size: int) -> str:
        opcode = first & 0x0F
        if first & 0x70 or opcode not in _OPCODES:
            return "a reserved bit is set, or an opcode there is not"
        if bool(second & 0x80) != self._masked:
            return "a client's frames are masked, a server's are not"
        if opcode & 0x08:
            return (
                "" if first & 0x80 and second & 0x7F <= MAX_CONTROL else "a control frame is short and whole"
            )
        if (second & 0x7F == 126 and size < 126) or (second & 0x7F == 127 and not 2**16 <= size < 2**63):
            return "a length that is not the shortest"
        if (opcode == _CONTINUATION) != (self._message >= 0):
            return "a continuation without a beginning, or a beginning within a message"
        return ""

    def _count(self, first: int, size: int) -> bool:
        """Add a frame to its message; False when that is too big."""
        total = max(self._message, 0) + size
        self._message = -1 if first & 0x80 else total
        return total <= self._limit


def close_frame(code: int, why: str, *, masked: bool) -> bytes:
    """Make a Close. The mask hides nothing from anybody here, so any will do."""
    payload = (code.to_bytes(2, "big") + why.encode())[:MAX_CONTROL]
    mask = _NO_MASK if masked else b""
    return bytes((0x80 | _CLOSE, len(payload) | (0x80 if masked else 0))) + mask + payload
