"""Where an answer sends its client: a plugin that names this very host means a path of it. Pure.

A plugin knows the host by a name that may not be ours outside: behind a proxy that speaks TLS it is another scheme,
and without a Host of the client's there is none. Other targets pass as they are; nothing is ever followed here.
An image knows nothing of the prefix it is served below: the paths it sends clients to are put below it.
"""

from __future__ import annotations

import re

from controller.dataplane.headers import Headers

# A path that begins with two slashes would name a host of its own.
_ABSOLUTE = re.compile(rb"https?://(?P<host>[^/?#\\]*)(?P<rest>|[?#].*|/(?![/\\]).*)", re.IGNORECASE)
_PATH = re.compile(rb"/(?![/\\])")
_REFRESH = re.compile(
    rb"(?P<before>[^;,]*[;,][ \t]*url[ \t]*=[ \t]*)(?P<quote>[\"']?)(?P<url>.*?)(?P=quote)", re.IGNORECASE
)
# What a server in a sandbox may take for its own name.
_SANDBOX = b"sandbox"


def to_client(headers: Headers, host: bytes, prefix: bytes = b"") -> list[bytes]:
    """Give the lines of an answer that send its client somewhere. `prefix`: what its paths are to begin with here."""
    lines = []
    for name, value in headers:
        if name in {b"location", b"content-location"}:
            lines.append(b"%b: %b\r\n" % (name, local(value, host, prefix)))
        elif name == b"refresh":
            lines.append(b"refresh: %b\r\n" % local_refresh(value, host, prefix))
    return lines


def local(url: bytes, host: bytes, prefix: bytes = b"") -> bytes:
    """Give the path of a URL of our own host, or the URL as it is."""
    match = _ABSOLUTE.fullmatch(url)
    if match is not None and match["host"].lower() in {host.lower(), _SANDBOX}:
        rest = match["rest"]
        url = rest if rest.startswith(b"/") else b"/" + rest
    return _below(url, prefix) if prefix else url


def _below(url: bytes, prefix: bytes) -> bytes:
    """Put a path below the prefix, unless whoever wrote it already did."""
    if (
        _PATH.match(url) is None
        or url == prefix
        or url.startswith((prefix + b"/", prefix + b"?", prefix + b"#"))
    ):
        return url
    return prefix + url


def local_refresh(value: bytes, host: bytes, prefix: bytes = b"") -> bytes:
    """Do the same for the URL in a `Refresh`."""
    match = _REFRESH.fullmatch(value)
    if match is None:
        return value
    return b"%b%b%b%b" % (match["before"], match["quote"], local(match["url"], host, prefix), match["quote"])
