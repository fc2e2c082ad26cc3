"""The WebSocket handshake: what a client may offer, and what its plugin may agree to. Pure. RFC 6455 section 4.

Extensions are never passed on, in either direction: what crosses is then plain frames that can be watched, and no
compressed message can grow beyond its bound at an end.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Set as AbstractSet
from urllib.parse import unquote_to_bytes

from controller.dataplane import headers as rules
from controller.dataplane.request import Refusal, Request

VERSION = b"13"
# A browser cannot send Authorization with a WebSocket: a key may come as an offered subprotocol instead.
BEARER = b"xcore.bearer."
# Chosen by us where the plugin chose none: a browser that offered subprotocols gives up without one.
NEUTRAL = b"xcore"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ORIGIN = re.compile(rb"(?P<scheme>https?)://(?P<host>[^/?#@\\]+)", re.IGNORECASE)
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


class BadAgreement(Exception):
    """The plugin's 101 is not an answer to this offer."""


class Offer:
    """A client's offer, found good. `key`: the credential among its subprotocols, which the plugin never sees."""

    __slots__ = ("_accept", "_neutral", "_nonce", "_protocols", "key")

    def __init__(self, request: Request) -> None:
        """Read the fields of the head; raises Refusal, with a sentence for each thing that is wrong."""
        fields: dict[bytes, bytes] = {}
        for name, value in request.handshake or ():
            fields[name] = b"%b,%b" % (fields[name], value) if name in fields else value
        _check(request, fields)
        self._nonce = _nonce(fields.get(b"sec-websocket-key"))
        digest = hashlib.sha1(self._nonce + _GUID, usedforsecurity=False).digest()
        self._accept = base64.b64encode(digest)
        offered = _words(fields.get(b"sec-websocket-protocol"))
        keys = [word for word in offered if word.startswith(BEARER)]
        self._protocols = [word for word in offered if word not in {*keys, NEUTRAL}]
        self._neutral = NEUTRAL in offered
        if len(keys) > 1 or (keys and len(offered) == 1):
            detail = "offer one xcore.bearer.<key>, and another subprotocol beside it: xcore, for one"
            raise Refusal("MalformedRequest", detail)
        self.key = unquote_to_bytes(keys[0].removeprefix(BEARER)) if keys else None

    def lines(self) -> list[bytes]:
        """Give the lines that ask the plugin."""
        lines = [
            b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n",
            b"sec-websocket-key: %b\r\n" % self._nonce,
        ]
        if self._protocols:
            lines.append(b"sec-websocket-protocol: %b\r\n" % b", ".join(self._protocols))
        return lines

    def agreed(self, special: dict[bytes, bytes]) -> list[bytes]:
        """Give the lines that tell the client what the plugin's 101 says; raises BadAgreement."""
        if special.get(b"upgrade", b"").lower() != b"websocket":
            raise BadAgreement("it does not upgrade to websocket")
        if special.get(b"sec-websocket-accept") != self._accept:
            raise BadAgreement("its Sec-WebSocket-Accept is not the one that belongs to the key")
        if b"sec-websocket-extensions" in special:
            raise BadAgreement("it uses an extension that was not offered")
        if b"content-length" in special or b"transfer-encoding" in special:
            raise BadAgreement("it has a body")
        protocol = special.get(b"sec-websocket-protocol")
        if protocol is not None and protocol not in self._protocols:
            raise BadAgreement("it chose a subprotocol that was not offered")
        lines = [b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: %b\r\n" % self._accept]
        if protocol is None and self._neutral:
            protocol = NEUTRAL
        if protocol is not None:
            lines.append(b"sec-websocket-protocol: %b\r\n" % protocol)
        return lines


def _check(request: Request, fields: dict[bytes, bytes]) -> None:
    def refuse(detail: str) -> None:
        raise Refusal("MalformedRequest", f"a WebSocket {detail}")

    if request.http10:
        refuse("needs HTTP/1.1")
    if request.method != b"GET":
        refuse("is asked for with GET")
    if not request.complete:
        refuse("handshake has no body")
    if b"upgrade" not in rules.tokens(fields.get(b"connection", b"")):
        refuse("handshake says Connection: Upgrade; a proxy on the way may have removed it")
    if fields.get(b"sec-websocket-version") != VERSION:
        raise Refusal("UpgradeRequired", "Sec-WebSocket-Version must be 13")


def _nonce(value: bytes | None) -> bytes:
    try:
        if value is not None and len(base64.b64decode(value, validate=True)) == 16:
            return value
    except binascii.Error:
        pass
    raise Refusal("MalformedRequest", "Sec-WebSocket-Key must be 16 bytes in base64")


def _words(value: bytes | None) -> list[bytes]:
    """Read subprotocols: case matters, and none comes twice."""
    words = [word.strip() for word in value.split(b",")] if value is not None else []
    if len(set(words)) < len(words) or not all(map(_TOKEN.fullmatch, words)):
        raise Refusal(
            "MalformedRequest", "Sec-WebSocket-Protocol must be different names with commas between"
        )
    return words


def check_origin(request: Request, allowed: AbstractSet[bytes]) -> None:
    """Refuse a page of another site (CWE-1385). What is no browser sends no Origin, and lives by its key.

    Whether a client came by TLS is not known behind every proxy, so either scheme of our own host is ours.
    """
    origins = [value for name, value in request.handshake or () if name == b"origin"]
    if not origins:
        return
    match = _ORIGIN.fullmatch(origins[0])
    if len(origins) > 1 or match is None or not _known(match, request.host, allowed):
        detail = (
            "pages of this Origin may not open WebSockets here; XCORE_ALLOWED_ORIGINS lists those that may"
        )
        raise Refusal("Forbidden", detail)


def _known(origin: re.Match[bytes], host: bytes, allowed: AbstractSet[bytes]) -> bool:
    port = _DEFAULT_PORTS[origin["scheme"].lower()]
    same = origin["host"].lower().removesuffix(port) == host.lower().removesuffix(port)
    return same or origin[0].lower() in allowed
