"""Cookies of plugins that share one host: each sets its own, below its own path, and is sent no others. RFC 6265.

A cookie is made anew from what was understood of it; whatever could be read otherwise by a browser is dropped. Why a
plugin's cookie was dropped is logged once.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache

from controller.dataplane.headers import Headers

# What browsers take: longer ones they drop, and more would push out those of other plugins.
MAX_COOKIE = 4096
MAX_COOKIES = 20
_PAIR = re.compile(rb"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?P<value>[^\x00-\x1f\x7f;]*)")
_VALUE = re.compile(rb"[\x20-\x3a\x3c-\x7e]*")
_KEPT = {
    name.lower(): name
    for name in (b"Expires", b"HttpOnly", b"Max-Age", b"Partitioned", b"Priority", b"SameSite", b"Secure")
}
_OURS = (b"xcore", b"__host-xcore", b"__secure-xcore")
# Such a cookie is of the whole host: browsers take it with `Path=/` only.
_WHOLE_HOST = b"__host-"
_log = logging.getLogger("xcore.dataplane")


def to_plugin(headers: Headers) -> list[bytes]:
    """Give the line of the cookies that may be a plugin's own: none of the whole host, none of ours."""
    pairs = [pair.strip() for name, value in headers if name == b"cookie" for pair in value.split(b";")]
    kept = [pair for pair in pairs if _may_be_a_plugins(pair)]
    return [b"cookie: %b\r\n" % b"; ".join(kept)] if kept else []


def _may_be_a_plugins(pair: bytes) -> bool:
    match = _PAIR.fullmatch(pair)
    return match is not None and not match["name"].lower().startswith((*_OURS, _WHOLE_HOST))


def to_client(headers: Headers, plugin: str) -> list[bytes]:
    """Give the lines of an answer's cookies, each bound to the plugin's path."""
    lines: list[bytes] = []
    for name, value in headers:
        if name != b"set-cookie":
            continue
        if len(lines) == MAX_COOKIES:
            _dropped(plugin, f"over {MAX_COOKIES} in one answer")
            break
        if line := _bound(value, plugin):
            lines.append(line)
    return lines


def _bound(cookie: bytes, plugin: str) -> bytes:
    """Give the line of one cookie, or nothing."""
    first, *attributes = [part.strip() for part in cookie.split(b";")]
    pair = _PAIR.fullmatch(first)
    if pair is None or len(first) > MAX_COOKIE:
        _dropped(plugin, f"not a name, an equals sign and a value of {MAX_COOKIE} bytes at most")
        return b""
    name = pair["name"].lower()
    if name.startswith(_OURS) or name.startswith(_WHOLE_HOST):
        _dropped(plugin, "names that begin with xcore or __Host- are not a plugin's")
        return b""
    path = root = b"/app/%b/" % plugin.encode("ascii")
    kept = []
    for attribute in attributes:
        word, equals, value = (part.strip() for part in attribute.partition(b"="))
        if not _VALUE.fullmatch(value):
            continue
        if word.lower() == b"path":
            path = value if value == root[:-1] or value.startswith(root) else root
        elif (known := _KEPT.get(word.lower())) is not None:
            kept.append(b"%b=%b" % (known, value) if equals else known)
    return b"set-cookie: %b\r\n" % b"; ".join(
        [b"%b=%b" % (pair["name"], pair["value"]), b"Path=" + path, *kept]
    )


@lru_cache(1024)
def _dropped(plugin: str, why: str) -> None:
    _log.warning("%s: a cookie was dropped: %s", plugin, why)
