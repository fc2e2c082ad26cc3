"""A request as the guard lets it through: its head read once, and its body on the way to the plugin.

What the plugin is sent is made from this reading alone, never from the client's bytes, so two readings cannot differ.
"""

from __future__ import annotations

import re
from functools import lru_cache

from controller.dataplane import cookies, headers as rules
from integrations.grants import Grant

SHORT = 262  # a host name and a port
BUFFER = 64 * 1024
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")


@lru_cache(1024)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


class Refusal(Exception):
    """A verdict. `retry_after`: seconds; `allow`: the methods there are."""

    def __init__(self, reason: str, detail: str, *, retry_after: int | None = None, allow: str = "") -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail
        self.retry_after, self.allow = retry_after, allow


class Request:
    """One request. `complete`: its body is all here; `sent`: all of it has gone to the plugin. `deferred`: its client
    would rather not wait for the answer (RFC 7240 section 4.1).

    `handshake`: the fields of a head that asks for a WebSocket. `grant`: what its key allows, where one was asked for.
    """

    __slots__ = (
        "_expect",
        "_lines",
        "_waiting",
        "action",
        "chunked",
        "complete",
        "deferred",
        "grant",
        "handshake",
        "host",
        "http10",
        "keep_alive",
        "key",
        "length",
        "method",
        "plugin",
        "prefix",
        "request_id",
        "sent",
        "size",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, version: str, headers: rules.Headers) -> None:
        """Read a head; names in lower case. Raises Refusal for what could be read in two ways (RFC 9112)."""
        self.method, self.target = method, target
        self.http10 = version == "1.0"
        if version not in {"1.1", "1.0"}:
            raise Refusal("MalformedRequest", "only HTTP/1.1 and HTTP/1.0 are spoken here")
        self._lines, special = rules.to_plugin(headers)
        self._read_host(special.get(b"host"))
        self.handshake: rules.Headers | None = None
        self.deferred = False
        if not rules.RARE.isdisjoint(special):
            self._read_rare(headers, special)
        self.length: int | None = None
        self.chunked = False
        if b"content-length" in special or b"transfer-encoding" in special:
            self._read_framing(special.get(b"content-length"), special.get(b"transfer-encoding"))
        self.request_id = rules.plain_request_id(special.get(b"x-request-id")) or b""
        self.grant: Grant | None = None
        self.key = rules.bearer(special.get(b"authorization"))
        self.upgrade, self._expect = special.get(b"upgrade"), special.get(b"expect")
        self.plugin = self.action = ""
        self.prefix = b""
        self.keep_alive = True
        self.complete = not (self.chunked or self.length)
        self.sent = False
        self.size = 0
        self._waiting: list[bytes] | None = None

    @property
    def expects(self) -> bool:
        """Whether the client waits to be asked for its body (RFC 9110 section 10.1.1)."""
        return self._expect is not None and self._expect.lower() == b"100-continue" and not self.http10

    def _read_rare(self, headers: rules.Headers, special: dict[bytes, bytes]) -> None:
        self._lines += cookies.to_plugin(headers)
        if b"websocket" in rules.tokens(special.get(b"upgrade", b"")):
            self.handshake = headers
        if b"prefer" in special:
            self._read_prefer(special[b"prefer"])
        if b"service-worker" in special and self.target.partition(b"?")[0].count(b"/") < 3:
            # A browser lets a script govern its directory: that of `/app/hello` holds all plugins.
            raise Refusal("Forbidden", "a service worker's script lies below /app/<plugin>/")

    def _read_prefer(self, value: bytes) -> None:
        self.deferred = self.method not in _SAFE and b"respond-async" in rules.tokens(value)
        if not self.deferred:
            self._lines.append(b"prefer: %b\r\n" % value)

    def _read_host(self, host: bytes | None) -> None:
        if host is None and not self.http10:
            raise Refusal("MalformedRequest", "exactly one Host is needed (RFC 9112 section 3.2)")
        if host is not None and not (len(host) <= SHORT and _is_host(host)):
            raise Refusal("MalformedRequest", "the Host is not one host")
        self.host = host or b"localhost"
        if not self.target.startswith(b"/") and (absolute := _ABSOLUTE.fullmatch(self.target)):
            if absolute[1].lower() != self.host.lower():
                raise Refusal("MalformedRequest", "the request target and Host name two hosts")
            self.target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]

    def _read_framing(self, length: bytes | None, coding: bytes | None) -> None:
        self.chunked = coding is not None
        if coding is not None and (coding.lower() != b"chunked" or length is not None or self.http10):
            raise Refusal(
                "MalformedRequest", "only Transfer-Encoding: chunked is understood, and nothing beside it"
            )
        if length is not None:
            if not _LENGTH.fullmatch(length):
                raise Refusal("MalformedRequest", "the Content-Length is not one number")
            self.length = int(length)

    # -- to the plugin ------------------------------------------------------------------------------------------

    def head(self, ours: bytes, origin: bytes, *, cut: int = 0) -> bytes:
        """Give the head to send and what has come of the body; `ours`, `origin`: whole lines to add.

        `cut`: how much of the target is ours alone.
        """
        if cut:
            self.prefix = self.target[:cut]
        if self.chunked:
            framing = b"transfer-encoding: chunked\r\n\r\n"
        elif self.length is not None:
            framing = b"content-length: %d\r\n\r\n" % self.length
        else:
            framing = b"\r\n"
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%bx-request-id: %b\r\n%b%b%b%b" % (
            self.method,
            _below(self.target, cut) if cut else self.target,
            self.host,
            b"".join(self._lines),
            self.request_id,
            ours,
            origin,
            framing,
            self._body_so_far(),
        )

    def fields(self) -> list[tuple[str, str]]:
        """What the plugin may see of the head, name by name; as text."""
        pairs = [line[:-2].decode("latin-1").partition(": ") for line in self._lines]
        return [(name, value) for name, _, value in pairs]

    def add(self, lines: list[bytes]) -> None:
        """Add whole lines to the head."""
        self._lines += lines

    def _body_so_far(self) -> bytes:
        body = b""
        if self._waiting is not None:
            body, self._waiting = b"".join([self.framed(chunk) for chunk in self._waiting]), None
        return body + self.end() if self.complete else body

    def keep(self, chunk: bytes) -> bool:
        """Keep a piece of the body until the plugin can be sent it; False when that is enough for now."""
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(chunk)
        return self.size <= BUFFER

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent once more: safe (RFC 9110 section 9.2.1), and nothing of it is used up."""
        return self.method in _SAFE and self.complete and not self.size

    def framed(self, chunk: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self.chunked else chunk

    def end(self) -> bytes:
        self.sent = True
        return b"0\r\n\r\n" if self.chunked else b""


def _below(target: bytes, cut: int) -> bytes:
    """Give a target without the prefix: a path, whatever follows."""
    rest = target[cut:]
    return rest if rest.startswith(b"/") else b"/" + rest
