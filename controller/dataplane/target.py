"""What a request line asks for, read from the raw path. Pure; what is decoded here is decoded once, as the plugin will."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

SHORT = 128  # remembered: the same few are asked for again and again
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
    return _parse_short(raw) if len(raw) <= SHORT else _parse(raw)


def is_plain(raw: bytes) -> bool:
    """Whether a raw target's path means the same to whoever decodes it: the rule of `/app/`, for what is not below it."""
    return _UNSAFE.search(raw.partition(b"?")[0]) is None


def _parse(raw: bytes) -> Target | None:
    match = _TARGET.fullmatch(raw)
    if match is None:
        return None
    plugin, path, _ = match.groups()
    if path is None:
        return Target(plugin.decode("ascii"), "")
    if _UNSAFE.search(path):
        return None
    action = path[1:].split(b"/", 1)[0].decode("ascii")
    # The plugin decodes its path: an action's settings must not be evaded by writing its name otherwise.
    return Target(plugin.decode("ascii"), unquote(action) if "%" in action else action)


_parse_short = lru_cache(1024)(_parse)
