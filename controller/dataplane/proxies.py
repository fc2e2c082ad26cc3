"""Whom a request is from: whoever connected, or whom a trusted proxy names that did. Pure.

Each proxy adds to X-Forwarded-For the address it was asked from, so the list is read from its end, as far as its addresses are those of
trusted proxies. What stands before the first that is none of them was written by a stranger, and is not looked at.
`Forwarded` (RFC 7239) and X-Real-IP are not read: a proxy that does not set a field passes on what its client wrote there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from controller.dataplane.headers import Headers

MAX_HOPS = 32
# With a port or without one (RFC 3986 section 3.2.2). No zones: they are of another machine.
_ENTRY = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})")
_SCHEMES = {b"http": "http", b"https": "https"}


class Sender:
    """Whoever sent a request. `address`: without its port, "" where it has none; `lines`: of a head, what a plugin is told of it."""

    __slots__ = ("address", "lines", "scheme")

    def __init__(self, address: str = "", scheme: str = "http") -> None:
        self.address, self.scheme = address, scheme
        told = (address or "unknown").encode(), scheme.encode()
        self.lines = b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\n" % told


class Proxies:
    """Those in front of the controller that are trusted to say whom they pass requests on for."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(map(ip_network, networks))

    def include(self, peer: Sender) -> bool:
        """Whether it is one of them."""
        try:
            return self._has(_plain(ip_address(peer.address)))
        except ValueError:
            return False

    def sender(self, peer: Sender, headers: Headers) -> Sender:
        """Give whom a request is from that came from one of them, the `peer`."""
        address = peer.address
        for entry in reversed(_listed(headers, b"x-forwarded-for")):
            found = _address(entry)
            if found is None:
                break  # whoever wrote that is the last who is known
            address = str(found)
            if not self._has(found):
                break
        told = _listed(headers, b"x-forwarded-proto")
        return Sender(address, _SCHEMES.get(told[-1], peer.scheme) if told else peer.scheme)

    def _has(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _listed(headers: Headers, wanted: bytes) -> list[bytes]:
    """Give the last elements of a list, which may come in several fields; empty ones count for nothing (RFC 9110 section 5.6.1)."""
    joined = b",".join([value for name, value in headers if name == wanted])
    elements = [element.strip() for element in joined.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]]
    return [element for element in elements if element]


def _address(entry: bytes) -> IPv4Address | IPv6Address | None:
    match = _ENTRY.fullmatch(entry)
    try:
        return _plain(ip_address(match[match.lastindex or 0].decode())) if match is not None else None
    except ValueError:
        return None


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address is one, however a socket for both writes it (RFC 4291 section 2.5.5.2)."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
