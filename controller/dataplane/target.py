"""What a request line asks for, read from the raw path. Pure; nothing here is decoded, so nothing can hide."""

from __future__ import annotations

import re
from typing import NamedTuple

PREFIX = b"/app/"
_TARGET = re.compile(
    rb"/app/(?P<plugin>[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)"
    rb"(?P<path>/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*)?"
    rb"(?:\?(?P<query>[\x21-\x22\x24-\x7e]*))?"
)
# Dot segments, empty segments, and whatever decodes to a separator or a control character (RFC 3986, CWE-22).
_UNSAFE = re.compile(rb"/\.{1,2}(?:/|$)|//|%(?![0-9A-Fa-f]{2})|%(?:2[EeFf]|5[Cc]|[01][0-9A-Fa-f]|7[Ff])")


class Target(NamedTuple):
    """The plugin's name and the name of its action (empty: the plugin itself)."""

    plugin: str
    action: str


def parse_target(raw: bytes) -> Target | None:
    """Read a raw request target that begins with `/app/`; None when it is not one we serve."""
    match = _TARGET.fullmatch(raw)
    if match is None:
        return None
    path = match["path"] or b""
    if _UNSAFE.search(path):
        return None
    return Target(match["plugin"].decode("ascii"), path[1:].split(b"/", 1)[0].decode("ascii"))
