"""Which header fields cross the proxy, each way. Pure. RFC 9110 section 7.6.1, RFC 9112."""

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
# The caller's credentials, what only we may say about where a request came from, and framing, which is ours.
_NOT_TO_PLUGINS = HOP_BY_HOP | {
    b"authorization",
    b"cookie",
    b"x-api-key",
    b"forwarded",
    b"x-real-ip",
    b"x-request-id",
    b"expect",
    b"content-length",
}
# What would speak for the controller's whole origin, and framing, which is ours.
_NOT_TO_CLIENTS = HOP_BY_HOP | {
    b"set-cookie",
    b"strict-transport-security",
    b"clear-site-data",
    b"service-worker-allowed",
    b"alt-svc",
    b"x-request-id",
    b"date",
    b"server",
    b"content-length",
}
_OURS = (b"x-forwarded-", b"xcore-")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def to_plugin(headers: Headers) -> list[bytes]:
    """Give the fields a plugin may see, as pieces ready to be joined. Names are in lower case already."""
    return _keep(headers, _NOT_TO_PLUGINS)


def to_client(headers: Headers) -> list[bytes]:
    return _keep(headers, _NOT_TO_CLIENTS)


def _keep(headers: Headers, dropped: frozenset[bytes]) -> list[bytes]:
    named = _named_in_connection(headers)
    pieces: list[bytes] = []
    for name, value in headers:
        # An underscore turns into a hyphen in many frameworks: it could pose as a field we dropped.
        if name in dropped or name in named or name.startswith(_OURS) or b"_" in name:
            continue
        pieces += (name, b": ", value, b"\r\n")
    return pieces


def _named_in_connection(headers: Headers) -> Iterable[bytes]:
    return [
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    ]


def request_id_of(headers: Headers) -> bytes | None:
    """Give the client's own request id if it is a plain one."""
    for name, value in headers:
        if name == b"x-request-id":
            return value if _REQUEST_ID.fullmatch(value) else None
    return None


def bearer_of(headers: Headers) -> bytes | None:
    """Give the credential of `Authorization: Bearer …` (RFC 6750); None when there is none or more than one."""
    found = [value for name, value in headers if name == b"authorization"]
    if len(found) != 1 or len(found[0]) > 512 or found[0][:7].lower() != b"bearer ":
        return None
    return found[0][7:].strip()
