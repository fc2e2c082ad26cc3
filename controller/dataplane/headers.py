"""Which header fields cross the proxy, each way. Pure. RFC 9110 section 7.6.1, RFC 9112.

Names are in lower case here; fields come out as whole lines, ready to be joined. A field that is special to us and
comes more than once is read as one list (RFC 9110 section 5.3): two hosts are then no host, two lengths no number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_HANDSHAKE = (
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
    b"sec-websocket-key",
    b"sec-websocket-protocol",
    b"sec-websocket-version",
)
# The caller's credentials, what only we may say about where a request came from, and framing, which is ours.
_NOT_TO_PLUGINS = frozenset(
    {
        *HOP_BY_HOP,
        *_HANDSHAKE,
        b"authorization",
        b"cookie",
        b"prefer",
        b"x-api-key",
        b"forwarded",
        b"x-real-ip",
        b"x-request-id",
        b"expect",
        b"service-worker",
        b"host",
        b"http2-settings",
        b"content-length",
    }
)
# Of a request, not on the everyday one: looked at closely.
RARE = frozenset({b"cookie", b"prefer", b"service-worker", b"upgrade"})
# Of an answer: goes on in another form (see cookies, locations).
REWRITTEN = frozenset({b"set-cookie", b"location", b"content-location", b"refresh"})
# What would speak for the controller's whole origin or to a proxy in front of it, and framing, which is ours.
_NOT_TO_CLIENTS = frozenset(
    {
        *HOP_BY_HOP,
        *REWRITTEN,
        *_HANDSHAKE,
        b"strict-transport-security",
        b"clear-site-data",
        b"service-worker-allowed",
        b"alt-svc",
        b"nel",
        b"report-to",
        b"accept-ch",
        b"x-content-type-options",
        b"x-sendfile",
        b"x-request-id",
        b"date",
        b"server",
        b"content-length",
    }
)
_NAMING_NONE = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})
_OURS = (b"x-forwarded-", b"xcore-", b"x-accel-")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_MAX_CREDENTIAL = len("Bearer ") + 4096  # of a pod, somewhat over 1 KiB


def to_plugin(headers: Headers) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Give the lines a plugin may see, and the special fields, which it does not see as they are."""
    return _sort(headers, _NOT_TO_PLUGINS)


def to_client(headers: Headers) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Give the lines of an answer a client may see, and the special fields."""
    return _sort(headers, _NOT_TO_CLIENTS)


def _sort(headers: Headers, special: frozenset[bytes]) -> tuple[list[bytes], dict[bytes, bytes]]:
    lines: list[bytes] = []
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in special:
            found[name] = b"%b,%b" % (found[name], value) if name in found else value
        # An underscore turns into a hyphen in many frameworks: it could pose as a field we dropped.
        elif not name.startswith(_OURS) and b"_" not in name:
            lines.append(b"%b: %b\r\n" % (name, value))
    connection = found.get(b"connection")
    if connection is not None and connection not in _NAMING_NONE:
        lines = _without(lines, tokens(connection))
    return lines, found


def _without(lines: list[bytes], names: Iterable[bytes]) -> list[bytes]:
    dropped = tuple(b"%b: " % name for name in names)
    return [line for line in lines if not line.startswith(dropped)]


def size(headers: Headers) -> int:
    """Give the length of a head's fields as they were sent, in bytes."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


def tokens(value: bytes) -> list[bytes]:
    """Read a comma-separated list of case-insensitive words."""
    return [token.strip().lower() for token in value.split(b",")]


def plain_request_id(value: bytes | None) -> bytes | None:
    """Give the client's own request id if it is a plain one."""
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None


def request_id_of(headers: Headers) -> bytes | None:
    return plain_request_id(next((value for name, value in headers if name == b"x-request-id"), None))


def bearer(value: bytes | None) -> bytes | None:
    """Give the credential of `Authorization: Bearer …` (RFC 6750)."""
    if value is None or len(value) > _MAX_CREDENTIAL or value[:7].lower() != b"bearer ":
        return None
    return value[7:].strip()
