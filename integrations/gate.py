"""Who comes: keys, found by their digest in memory, and how often an address has shown wrong ones.

Nothing here waits or looks elsewhere. A key that is good is let in whatever its address did before: behind a proxy or a
router many share one, and none of them shall be able to lock the others out. Guessing 256 bits is hopeless at any rate.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Iterable
from math import ceil

from integrations.grants import Grant
from xcore.errors import XcoreError

MAX_KEY = 512
# Of an address: so many wrong keys at once, and one more each time the seconds have passed.
FAILURES = 10
FAILURE_SECONDS = 6.0
MAX_ADDRESSES = 10_000
_HALF = 16  # bytes of a digest by which it is found; the whole is then compared in constant time


class Unauthenticated(XcoreError):
    reason = "Unauthenticated"
    component = "client"

    def __init__(self, detail: str = "a valid key is needed: Authorization: Bearer <key>") -> None:
        super().__init__(detail)


class RateLimited(XcoreError):
    """Come back in `retry_after` seconds."""

    reason = "RateLimited"
    component = "client"


class Gate:
    """Knows every key that is good now: those it was made with, for ever, and those of the last `replace`.

    `clock` gives seconds since the epoch.
    """

    def __init__(self, *lasting: Grant, clock: Callable[[], float] = time.time) -> None:
        self._lasting, self._clock = lasting, clock
        self._grants = _by_half(lasting)
        self._listeners: list[Callable[[frozenset[str]], None]] = []
        self._failures: dict[str, float] = {}

    def known(self, key: bytes) -> Grant | None:
        """Give what a key allows; None when it is unknown or has expired."""
        if len(key) > MAX_KEY:
            return None
        digest = hashlib.sha256(key).digest()
        grant = self._grants.get(digest[:_HALF])
        if grant is None or not hmac.compare_digest(grant.digest, digest) or grant.expires <= self._clock():
            return None
        return grant

    def is_good(self, key_id: str) -> bool:
        """Whether a key of that id is let in now."""
        now = self._clock()
        return any(grant.id == key_id and grant.expires > now for grant in self._grants.values())

    def replace(self, grants: Iterable[Grant]) -> None:
        """Know these from now on, without those that have expired; tells listeners the ids that are no longer good."""
        now = self._clock()
        before = {grant.id for grant in self._grants.values()}
        self._grants = _by_half([*(grant for grant in grants if grant.expires > now), *self._lasting])
        ended = frozenset(before - {grant.id for grant in self._grants.values()})
        for listener in self._listeners if ended else ():
            listener(ended)

    def listen(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Have `listener` called with the ids of keys that were good and are no more."""
        self._listeners.append(listener)

    def failed(self, address: str) -> int:
        """Count a wrong key from an address; 0, or the seconds to wait when there were too many."""
        now, name = self._clock(), _network(address)
        due = max(now, self._failures.pop(name, now))
        early = due + FAILURE_SECONDS * (1 - FAILURES) - now
        if early <= 0:
            due += FAILURE_SECONDS
        if len(self._failures) >= MAX_ADDRESSES:
            del self._failures[next(iter(self._failures))]
        self._failures[name] = due
        return ceil(early) if early > 0 else 0


def refusal(gate: Gate, address: str, *, shown: bool) -> XcoreError:
    """What somebody without a good key is told; `shown`: there was one. Counts."""
    wait = gate.failed(address) if shown else 0
    if not wait:
        return Unauthenticated()
    limited = RateLimited(f"too many wrong keys came from this address; try again in {wait} s")
    limited.retry_after = wait
    return limited


def _by_half(grants: Iterable[Grant]) -> dict[bytes, Grant]:
    return {grant.digest[:_HALF]: grant for grant in grants}


def _network(address: str) -> str:
    """One host has a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
