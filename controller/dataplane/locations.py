"""Where an answer sends its client: a plugin that names this very host means a path of it. Pure.

A plugin knows the host by a name that may not be ours outside: behind a proxy that speaks TLS it is another scheme,
and without a Host of the client's there is none. Other targets pass as they are; nothing is ever followed here.
"""

from __future__ import annotations

import re

from controller.dataplane.headers import Headers

# A path that begins with two slashes would name a host of its own.
_ABSOLUTE = re.compile(rb"https?://(?P<host>[^/?#\\]*)(?P<rest>|[?#].*|/(?![/\\]).*)", re.IGNORECASE)
_REFRESH = re.compile(
    rb"(?P<before>[^;,]*[;,][ \t]*url[ \t]*=[ \t]*)(?P<quote>[\"']?)(?P<url>.*?)(?P=quote)", re.IGNORECASE
)
# What a server in a sandbox may take for its own name.
_SANDBOX = b"sandbox"


def to_client(headers: Headers, host: bytes) -> list[bytes]:
    """Give the lines of an answer that send its client somewhere."""
    lines = []
    for name, value in headers:
        if name in {b"location", b"content-location"}:
            lines.append(b"%b: %b\r\n" % (name, local(value, host)))
        elif name == b"refresh":
            lines.append(b"refresh: %b\r\n" % local_refresh(value, host))
    return lines


def local(url: bytes, host: bytes) -> bytes:
    """Give the path of a URL of our own host, or the URL as it is."""
    match = _ABSOLUTE.fullmatch(url)
    if match is None or match["host"].lower() not in {host.lower(), _SANDBOX}:
        return url
    rest = match["rest"]
    return rest if rest.startswith(b"/") else b"/" + rest


def local_refresh(value: bytes, host: bytes) -> bytes:
    """Do the same for the URL in a `Refresh`."""
    match = _REFRESH.fullmatch(value)
    if match is None:
        return value
    return b"%b%b%b%b" % (match["before"], match["quote"], local(match["url"], host), match["quote"])
